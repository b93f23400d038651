package verify

import (
	"context"
	"errors"
	"strings"
	"testing"

	"keyway/internal/keyring"
	"keyway/internal/oidc"
)

func TestTheDecisionPointIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		point DecisionPoint
		ok    bool
		says  string
	}{
		"it answers": {DecisionPoint{Ask: func(context.Context) error { return nil }}, true, "it answers"},
		"it is away": {DecisionPoint{Ask: func(context.Context) error { return errors.New("connection refused") }}, false, "connection refused"},
		"one and several": {DecisionPoint{
			Ask: func(context.Context) error { return nil }, AskAll: func(context.Context) error { return nil },
		}, true, "it answers, one question and several at once"},
		"several are not answered": {DecisionPoint{
			Ask: func(context.Context) error { return nil }, AskAll: func(context.Context) error { return errors.New("status 404") },
		}, false, "it answers one question, and not several at once: status 404"},
		"switched off": {DecisionPoint{Off: true}, false, "switched off"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Inside(t.Context(), Subject{PDP: &c.point, Rings: func() map[string]keyring.Ring { return nil }}, Options{})
			for _, check := range r.Checks {
				if check.ID != "pdp.answers" {
					continue
				}
				if check.OK != c.ok || !strings.Contains(check.Saw, c.says) || !c.ok && (check.Cause == "" || check.Cure == "") {
					t.Errorf("%+v", check)
				}
				return
			}
			t.Error("it was not asked")
		})
	}
}

func TestVerdictsOfTheDecisionPoint(t *testing.T) {
	const proved, refuted, unproved = oidc.Proved, oidc.Refuted, oidc.Unproved
	for name, c := range map[string]struct {
		ring             string
		verdicts         map[string]oidc.Verdict
		ok, definite     bool
		blames, spares   string
		skipped          bool
		sawHas, causeHas string
	}{
		"all are taken":       {ring: "v2 active, v1 retiring", verdicts: map[string]oidc.Verdict{"v2": proved, "v1": proved}, ok: true, sawHas: "accepted"},
		"the active is not":   {ring: "v2 active, v1 retiring", verdicts: map[string]oidc.Verdict{"v2": refuted, "v1": proved}, definite: true, blames: "v2", spares: "v1", causeHas: "in use"},
		"the retiring is not": {ring: "v2 active, v1 retiring", verdicts: map[string]oidc.Verdict{"v2": proved, "v1": refuted}, ok: true, sawHas: "rollback"},
		"the pending is not":  {ring: "v2 pending, v1 active", verdicts: map[string]oidc.Verdict{"v2": refuted, "v1": proved}, causeHas: "yet"},
		"it says neither":     {ring: "v1 active", verdicts: map[string]oidc.Verdict{"v1": unproved}, ok: true, skipped: true},
	} {
		t.Run(name, func(t *testing.T) {
			held := map[string]keyring.Ring{"pdp-client-secret": ring(t, "pdp-client-secret", c.ring)}
			r := Inside(t.Context(), Subject{
				Rings: func() map[string]keyring.Ring { return held },
				PDP: &DecisionPoint{
					Name: "pdp.example", Secret: "pdp-client-secret", Ask: func(context.Context) error { return nil },
					Prove: func(_ context.Context, version string) (oidc.Verdict, error) { return c.verdicts[version], nil },
				},
			}, Options{Secrets: []string{"pdp-client-secret"}})
			if len(r.Checks) != 1 {
				t.Fatalf("%d checks are about it", len(r.Checks))
			}
			check := r.Checks[0]
			if check.ID != "pdp.credentials" || check.OK != c.ok || check.Definite != c.definite || check.Blames != c.blames || check.Spares != c.spares || check.Skipped != c.skipped {
				t.Errorf("%+v", check)
			}
			if !strings.Contains(check.Saw, c.sawHas) || !strings.Contains(check.Cause, c.causeHas) {
				t.Errorf("%+v", check)
			}
		})
	}
}
