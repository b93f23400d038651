package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/authz"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// Somebody else's request may have found newer credentials while ours was being refused
// those of before. Then ours is asked again, too, however it was asked.
func TestNewerCredentialsThatSomebodyElseHasFound(t *testing.T) {
	const first, second = "pdp-token-0123456789-first", "pdp-token-0123456789-second"
	var a *app
	var next *served
	var swapped sync.Once
	var armed atomic.Bool
	pdp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if armed.Load() && r.Header.Get("Authorization") != "Bearer "+second {
			swapped.Do(func() { a.current.Store(next) }) // before the answer is there
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "evaluations") {
			_, _ = io.WriteString(w, `{"evaluations":[{"decision":true},{"decision":true}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"decision":true}`)
	}))
	t.Cleanup(pdp.Close)
	path := t.TempDir() + "/pdp-token"
	handIn(t, path, first)
	o := withPDP(t, env(t, nil), managed, "", pdpYAML("connection: {base_url: \"%s\", credentials: {method: bearer, token: \"file:%s\"}}\nretry: {max_attempts: 1}\n", pdp.URL, path))
	a = &app{config: o.Config, log: o.Log}
	t.Cleanup(func() { _ = a.resources.Close() })
	if err := a.open(t.Context(), o.Env); err != nil {
		t.Fatal(err)
	}
	// Nothing goes on in the background, and nobody looks for what is newer any more.
	remote := a.resources.authorizing.remote
	remote.looked = time.Now().Add(time.Hour)
	before := a.current.Load()
	ring, err := before.rings[namePDPSecret].Accept(keyring.Candidate{ID: "second", Value: secret.NewValue([]byte(second))}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := *before
	s.rings = before.rings.with(ring)
	next = &s
	armed.Store(true)
	q := authz.Question{Subject: authz.Entity{Type: "user", ID: "ada"}, Action: authz.Action{Name: "read"}, Resource: authz.Entity{Type: "note", ID: "1"}}
	for name, asks := range map[string]func() error{
		"one question":              func() error { _, err := remote.Evaluate(t.Context(), q); return err },
		"several":                   func() error { _, err := remote.EvaluateAll(t.Context(), []authz.Question{q, q}); return err },
		"a verification":            func() error { return a.verifiedPoint().Ask(t.Context()) },
		"a verification of several": func() error { return a.verifiedPoint().AskAll(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			a.current.Store(before)
			swapped = sync.Once{}
			if err := asks(); err != nil {
				t.Errorf("not asked again: %v", err)
			}
		})
	}
}
