package e2e

import (
	"sync"
	"testing"
)

// What a provider has to accept. These stories wait most of the time, for a peer
// that is not to be asked too often.
func TestRotationAtTheProvider(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"client secret, both are good":         clientSecretBothLive,
		"client secret, the gateway first":     clientSecretGatewayFirst,
		"client secret, the provider first":    clientSecretProviderFirst,
		"client secret, its file is bad":       clientSecretFileIsBad,
		"client secret, refused afterwards":    clientSecretRollsBackByItself,
		"signing key, registered by hand":      signingKeyRegisteredByHand,
		"signing key, not registered any more": signingKeyRollsBackByItself,
	})
}

// Replicas on one Redis. A fleet that is new waits until everybody who may be there
// has spoken.
func TestRotationFleet(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"what we issue with": fleetIssues,
		"faults":             fleetFaults,
		"clocks":             fleetClocks,
	})
}

// together runs stories at the same time, also where few tests run in parallel:
// that is bounded for tests that compute.
func together(t *testing.T, stories map[string]func(*testing.T)) {
	var all sync.WaitGroup
	for name, story := range stories {
		all.Go(func() { t.Run(name, story) })
	}
	all.Wait()
}
