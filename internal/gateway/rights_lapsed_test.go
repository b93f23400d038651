package gateway_test

import (
	"io"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/bearer"
	"keyway/internal/gateway"
	"keyway/internal/session"
	"keyway/internal/threat"
)

// A stream whose user's rights have lapsed ends as a request would be refused: nobody
// is asked about somebody who seems to have no roles, since a policy may forbid
// something to a role.
func TestAStreamEndsWhenRightsLapse(t *testing.T) {
	threat.Covers(t, 49)
	for name, roles := range map[string][]string{"somebody with a role": {"contractor"}, "somebody without": nil} {
		t.Run(name, func(t *testing.T) {
			p := &point{}
			w := start(t, decidedBy(p), func(w *world) {
				w.settings.Rights = gateway.Rights{Roles: []bearer.Claim{{Source: "roles"}}}
			})
			streaming(w)
			p.saysYes(func(authz.Question) bool { return true })
			u := w.user().signIn()
			w.idp.SetHooks(says()) // nobody can learn them
			w.setRoles(u, roles)
			rest, status := u.opened(t, false)
			if status != 200 {
				t.Fatal(status)
			}
			asked := len(p.questions())
			sessions := w.current.Load().Sessions
			s, err := sessions.Find(t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
			must(t, err)
			_, err = sessions.Update(t.Context(), s, func(r session.Record) session.Record {
				r.RightsMissed = time.Now().Add(-session.RightsFor)
				return r
			})
			must(t, err)
			ended := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, rest); close(ended) }()
			select {
			case <-ended:
			case <-time.After(3 * time.Second):
				t.Error("it goes on")
			}
			if len(p.questions()) != asked {
				t.Errorf("the decision point was asked about %+v", p.last().Subject)
			}
		})
	}
}

// Where no claim gives rights, none lapse: what is decided is decided without.
func TestRightsThatNobodyReadsDontLapse(t *testing.T) {
	p := &point{}
	w := start(t, decidedBy(p))
	u := w.user().signIn()
	sessions := w.current.Load().Sessions
	s, err := sessions.Find(t.Context(), []string{"bff_session=" + u.cookie("bff_session")}, session.Client{})
	must(t, err)
	_, err = sessions.Update(t.Context(), s, func(r session.Record) session.Record {
		r.RightsMissed = time.Now().Add(-session.RightsFor)
		return r
	})
	must(t, err)
	for _, path := range []string{"/api/items", "/auth/capabilities?resource=item"} {
		if got := u.do("GET", path); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}
