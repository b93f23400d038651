package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/oidc"
)

func clientAt(t *testing.T, p *oidc.Provider, w *wire) *oidc.Client {
	t.Helper()
	c, err := oidc.NewClient(oidc.ClientOptions{Name: "demo", ClientID: clientID, Secret: ring(t, "client-secret", clientSecret), At: p, HTTP: httpOn(w), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A provider that dies after its metadata was read is told of, by what calls to it
// come to; asking for its health calls nobody.
func TestHealthFollowsTheLastCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{doc: metadata()}
		p := providerOn(t, w)
		if p.Health() == nil {
			t.Error("well before it was ever asked")
		}
		if err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		client := clientAt(t, p, w)
		call := func(ctx context.Context) { _, _ = client.Prove(ctx, p.Known(), "a") }
		well := func(what string, want bool) {
			t.Helper()
			before := w.count()
			if err := p.Health(); (err == nil) != want || err != nil && !errors.Is(err, oidc.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
			if w.count() != before {
				t.Errorf("%s: the question was a call", what)
			}
		}
		well("after a good start", true)

		for name, kill := range map[string]func(*wire){
			"refused":     func(w *wire) { w.fail = errors.New("connection refused") },
			"timed out":   func(w *wire) { w.delay = time.Minute },
			"a server's":  func(w *wire) { w.status = 503 },
			"unlike JSON": func(w *wire) { w.status, w.raw = 502, "<html>" },
		} {
			w.set(kill)
			call(t.Context())
			well(name+": one hiccup", true)
			call(t.Context())
			well(name+": twice", false)
			w.set(func(w *wire) { w.fail, w.delay, w.status, w.raw = nil, 0, 400, `{"error":"invalid_grant"}` })
			call(t.Context())
			well(name+": an answer, even a refusal", true)
		}

		// What says nothing of the provider.
		w.set(func(w *wire) { w.delay = time.Minute })
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			call(ctx)
		}
		well("people who hang up", true)
		w.set(func(w *wire) { w.delay, w.status = 0, 429 })
		for range 3 {
			call(t.Context())
		}
		well("busy", true)
	})
}

// Where nobody calls, it is found out all the same that the provider is back, soon and
// without many questions.
func TestALostProviderIsLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{doc: metadata()}
		p := providerOn(t, w)
		if err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		defer func() { cancel(); <-done }()
		client := clientAt(t, p, w)
		time.Sleep(5 * time.Minute)

		w.set(func(w *wire) { w.fail = errors.New("connection refused") })
		for range 2 {
			_, _ = client.Prove(t.Context(), p.Known(), "a")
		}
		before := w.count()
		time.Sleep(20 * time.Minute)
		if n := w.count() - before; n < 20 || n > 30 {
			t.Errorf("%d questions in 20 minutes", n)
		}
		if p.Health() == nil {
			t.Error("well, and it is away")
		}
		w.set(func(w *wire) { w.fail = nil })
		time.Sleep(61 * time.Second)
		if err := p.Health(); err != nil {
			t.Errorf("a minute after it was back: %v", err)
		}

		// Its metadata can be had, and all else fails: that is not a question a second.
		before = w.count()
		failing := roundTrip(func(r *http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		client, err := oidc.NewClient(oidc.ClientOptions{Name: "demo", ClientID: clientID, Secret: ring(t, "client-secret", clientSecret), At: p, HTTP: &http.Client{Transport: failing}})
		if err != nil {
			t.Fatal(err)
		}
		for range 600 {
			_, _ = client.Prove(t.Context(), p.Known(), "a")
			time.Sleep(time.Second)
		}
		if n := w.count() - before; n < 5 || n > 12 {
			t.Errorf("%d questions in ten minutes in which calls fail", n)
		}
	})
}
