package verify

import (
	"context"
	"errors"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
)

// DecisionPoint is who decides who may do what.
type DecisionPoint struct {
	Name string // for people: its host, or its folder
	// Ask asks something harmless. An answer, whichever, is no error.
	Ask func(context.Context) error
	// AskAll asks several harmless things at once, where that has an endpoint of its own;
	// nil: it has none.
	AskAll func(context.Context) error
	// Secret is the name of the ring of our credential there; empty: we show none. Prove
	// asks by one version alone. oidc.ErrNoCredential: it has turned meanwhile.
	Secret string
	Prove  func(ctx context.Context, version string) (oidc.Verdict, error)
	// Off: nobody is asked, since checks are switched off.
	Off bool
}

// point is about the policy decision point.
func (i inside) point() []step {
	p := i.PDP
	if p == nil {
		return nil
	}
	steps := []step{{"pdp.answers", "policy decision point " + p.Name, nil, func(ctx context.Context) finding { return pointAnswers(ctx, p) }}}
	if p.Secret != "" {
		steps = append(steps, step{"pdp.credentials", "credential at the policy decision point " + p.Name, []string{p.Secret}, func(ctx context.Context) finding {
			return i.pointCredentials(ctx, p)
		}})
	}
	return steps
}

func pointAnswers(ctx context.Context, p *DecisionPoint) finding {
	if p.Off {
		return bad("checks are switched off (MS_BFF_AUTHZ_ENABLED=false)").
			because("somebody has switched them off: every signed-in user may do everything that a route offers", "Remove it as soon as the emergency is over, and start again.")
	}
	if err := p.Ask(ctx); err != nil {
		return bad("it does not answer: %v", err).
			because("the policy decision point is away, does not know our credential, or what answers there is none (AuthZEN 1.0 section 6.2); every route with authz: pdp answers 403 meanwhile",
				"See whether it runs, whether this machine reaches it, and what connection and endpoints in pdp.yaml say.")
	}
	if p.AskAll == nil {
		return good("it answers")
	}
	if err := p.AskAll(ctx); err != nil {
		return bad("it answers one question, and not several at once: %v", err).
			because("what endpoints.evaluations in pdp.yaml names is not there, or what answers there is no answer (AuthZEN 1.0 section 7.2): /auth/capabilities answers 403, and streams end when policies change",
				"Correct endpoints.evaluations, or have the decision point offer it.")
	}
	return good("it answers, one question and several at once")
}

// pointCredentials wants each live version taken, as credentials does at a provider.
func (i inside) pointCredentials(ctx context.Context, p *DecisionPoint) finding {
	ring := i.Rings()[p.Secret]
	if ring.IsZero() {
		return skip("there is no %s", p.Secret)
	}
	var all []verdictOf
	for v := range ring.Live() {
		if i.o.Brief && v.State != keyring.Active && (len(all) == 0 || all[0].verdict != oidc.Refuted) {
			continue
		}
		verdict, err := p.Prove(ctx, v.ID)
		if errors.Is(err, oidc.ErrNoCredential) {
			continue // it turned since the rings were read
		}
		if err != nil {
			return bad("it can't be asked about %s: %v", v.ID, err).because("the policy decision point is away, or its answer breaks the protocol; with client_credentials, it refuses the token, or the token endpoint is away",
				"See pdp.answers, and connection.credentials in pdp.yaml.")
		}
		all = append(all, verdictOf{v, verdict})
	}
	return judgePoint(p, all)
}

// judgePoint says what the verdicts mean, the active version's first.
func judgePoint(p *DecisionPoint, all []verdictOf) finding {
	if len(all) == 0 {
		return skip("the credentials have just turned; ask again")
	}
	saw, spare := summary(all)
	const cure = "Make the value known there, or hand in the one that it knows."
	for _, v := range all {
		if v.verdict != oidc.Refuted {
			continue
		}
		switch v.State {
		case keyring.Active:
			f := bad("%s", saw).refusing(v.ID)
			f.spares = spare
			cause, cure := v.ID+", which is in use, is not known there (with client_credentials: at the token endpoint): it was changed or removed, or another value was handed in here", cure
			if spare != "" {
				cause += "; it still accepts " + spare + ", which is not in use"
				cure += " Until then, go back with: keyway rollback " + p.Secret
			}
			return f.because(cause, cure)
		case keyring.Pending:
			return bad("%s", saw).because(v.ID+" is not known there yet (with client_credentials: at the token endpoint); the one in use goes on", cure)
		default: // nothing is asked with it first any more
			saw += " (a rollback to it would not help)"
		}
	}
	if all[0].verdict == oidc.Unproved {
		return skip("%s: its answers say neither", saw)
	}
	return good("%s", saw)
}
