package app

import (
	"slices"
	"sync"
	"testing"

	"keyway/internal/admin"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/rotation"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// Two replicas and a sidecar rotate at the same instant, again and again: there
// is one new version each time. Each of them alone is tried a thousand times where
// it lives (packages rotation and keystore); this is all of them, for real.
func TestTwoReplicasAndASidecarMakeOneVersion(t *testing.T) {
	threat.Covers(t, 57, 55)
	server := redisserver.Start(t)
	shared := map[string]string{"REDIS_URL": server.URL(), "TOKEN_HASH_SALT": goodSalt}
	var replicas []*app
	for range 2 {
		a, err := opened(t, env(t, shared))
		if err != nil {
			t.Fatal(err)
		}
		defer a.background()()
		replicas = append(replicas, a)
	}
	sidecar, err := keystore.Open(replicas[0].resources.keys.Dir(), keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ring := func(a *app) keyring.Ring { return a.current.Load().rings[nameSigningKey] }
	settled := func() bool {
		first := ring(replicas[0])
		_, pending := first.Pending()
		return !pending && keyring.Same(first, ring(replicas[1]))
	}
	rounds := 25
	if testing.Short() {
		rounds = 10
	}
	until(t, "the fleet is ready", func() bool {
		roll, err := replicas[0].side.Roll(t.Context())
		return err == nil && !roll.Now.Before(roll.Ready)
	})
	for round := range rounds {
		from := ring(replicas[0]).Active().ID
		var group sync.WaitGroup
		asked := make([][]rotation.Rotation, 2)
		for i, a := range replicas {
			group.Go(func() {
				var err error
				if asked[i], err = (control{a}).Rotate(t.Context(), admin.Request{Secrets: []string{nameSigningKey}, By: "a test"}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Go(func() {
			if _, err := sidecar.Propose(keystore.ProposeOptions{From: from}); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if t.Failed() {
			return
		}
		until(t, "it has turned", func() bool { return settled() && ring(replicas[0]).Active().ID != from })
		if n := len(slices.Collect(ring(replicas[0]).All())); n != round+2 {
			t.Fatalf("round %d: %d versions, want %d", round, n, round+2)
		}
		if asked[0][0].To != asked[1][0].To {
			t.Fatalf("round %d: one was told of %s, the other of %s", round, asked[0][0].To, asked[1][0].To)
		}
	}
}
