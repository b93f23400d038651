package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keyway/internal/authz/authzen"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
)

// proveWithin bounds one proof.
const proveWithin = 10 * time.Second

// prove asks by one version alone. An answer, whichever, says that it is taken; a
// refusal, that it is not; anything else says neither.
func (p *remotePoint) prove(ctx context.Context, version string) (rotation.Verdict, error) {
	v, ok := p.ring().Find(version)
	if !ok || !v.State.Live() {
		return rotation.Unknown, fmt.Errorf("%w: %s", oidc.ErrNoCredential, version)
	}
	ctx, cancel := context.WithTimeout(ctx, proveWithin)
	defer cancel()
	options := p.options
	// One try, whatever others have met, and of the server alone.
	options.Attempts, options.Failures, options.Observer = 1, 0, provingObserver{p}
	credential := p.credential(v)
	if p.c.Connection.Credentials.Method == pdpClientCredentials {
		fetch, err := newPDPTokens(p.c.Connection.Credentials, v, p.metadata, observer{p.a.resources.metrics, nil})
		if err != nil {
			return rotation.Unknown, err
		}
		token, _, err := fetch.ClientCredentials(ctx, "", p.c.Connection.Credentials.Scopes)
		switch {
		case oidc.IsClientRefused(err):
			return rotation.Refused, nil
		case err != nil:
			return rotation.Unknown, err
		}
		// What users ask by is another token, and stays what it is.
		credential = authzen.Credential{Version: v.ID, Authorization: func(context.Context) (string, error) { return showing(token.Value), nil }}
	}
	options.Credentials = func() []authzen.Credential { return []authzen.Credential{credential} }
	client, err := authzen.New(options)
	if err != nil {
		return rotation.Unknown, err
	}
	_, err = client.Evaluate(ctx, authzen.Probe)
	switch {
	case err == nil:
		return rotation.Accepted, nil
	case errors.Is(err, authzen.ErrRefused) && p.c.Connection.Credentials.Method == pdpBearer:
		return rotation.Refused, nil
	}
	return rotation.Unknown, err
}

// provingObserver counts the requests of proofs, and no refusals: those of a version
// that is not in use are what a proof is for.
type provingObserver struct{ p *remotePoint }

// PDPRequest implements authzen.Observer.
func (o provingObserver) PDPRequest(endpoint string, status int, _ time.Duration) {
	o.p.a.resources.metrics.PDPRequest(endpoint, status)
}

// ClientAuth implements authzen.Observer.
func (o provingObserver) ClientAuth(version, outcome string) {
	o.p.a.resources.metrics.ClientAuth(pdpName, version, outcome)
}
