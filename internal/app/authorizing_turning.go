package app

import (
	"context"
	"fmt"
	"time"

	"keyway/internal/authz"
	"keyway/internal/authz/authzen"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
	"keyway/internal/verify"
)

// peerKind is who has to accept a new version of an outward secret, for people.
func peerKind(name string) string {
	if name == namePDPSecret {
		return "policy decision point"
	}
	return "identity provider"
}

// operatorOfPDP says what a person has to do for the decision point to accept a
// pending version.
func (a *app) operatorOfPDP(_ keyring.Version, p rotation.Proof) string {
	if p.Accepted || p.FirstRefused.IsZero() || time.Since(p.FirstRefused) < 10*time.Second {
		return ""
	}
	return a.makeKnownAtPDP()
}

func (a *app) makeKnownAtPDP() string {
	return fmt.Sprintf("make the new value known at the policy decision point %s, or wait until it knows it; the old one stays in use until then", a.resources.authorizing.remote.at())
}

// at is who takes the secret, for people.
func (p *remotePoint) at() string {
	if p.c.Connection.Credentials.Method == pdpClientCredentials {
		return fmt.Sprintf("%s (client %s, at its token endpoint)", p.host, p.c.Connection.Credentials.ClientID)
	}
	return p.host
}

// verifiedPoint is the decision point, as package verify looks at it.
func (a *app) verifiedPoint() *verify.DecisionPoint {
	z, c := a.resources.authorizing, a.config
	if z == nil {
		return nil
	}
	p := &verify.DecisionPoint{Name: c.PDP.Policies, Off: !c.Authz.Enabled && asksPDP(c)}
	if z.remote == nil {
		p.Ask = func(ctx context.Context) error { _, err := z.folder.Evaluate(ctx, authzen.Probe); return err }
		return p
	}
	p.Name = z.remote.host
	// Though it is left alone: whoever looks wants to see why.
	asking := func(ask func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			return z.remote.withNewer(ctx, func() error { return ask(ctx) })
		}
	}
	p.Ask = asking(func(ctx context.Context) error { _, err := z.remote.direct.Evaluate(ctx, authzen.Probe); return err })
	p.AskAll = asking(func(ctx context.Context) error {
		_, err := z.remote.direct.EvaluateAll(ctx, []authz.Question{authzen.Probe, authzen.Probe})
		return err
	})
	if usesPDPSecret(c) {
		p.Secret = namePDPSecret
		p.Prove = func(ctx context.Context, version string) (oidc.Verdict, error) {
			verdict, err := z.remote.prove(ctx, version)
			switch verdict {
			case rotation.Accepted:
				return oidc.Proved, nil
			case rotation.Refused:
				return oidc.Refuted, nil
			}
			return oidc.Unproved, err
		}
	}
	return p
}
