package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/demo/idp"
	"keyway/internal/oidc"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

// The provider's PAR endpoint hangs while strangers begin sign-ins by the
// hundred. Few of them may wait for it, and nobody who is signed in may notice.
func TestAFloodOfSignInsWhileTheIdPHangs(t *testing.T) {
	threat.Covers(t, 12, 67)
	const flood, most = 500, 64
	w := newWorld(t, func(s *setup) { s.us.Timeout = 3 * time.Second })
	grant := w.mustSignIn(t)
	var hanging, reached atomic.Int64
	release := make(chan struct{})
	w.idp.SetHooks(&idp.Hooks{Before: func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/par" {
			return false
		}
		reached.Add(1)
		hanging.Add(1)
		defer hanging.Add(-1)
		select {
		case <-release:
			return false
		case <-r.Context().Done():
		case <-time.After(20 * time.Second):
		}
		return true
	}})
	var wg sync.WaitGroup
	var fast atomic.Int64
	for range flood {
		wg.Go(func() {
			_, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
			if !errors.Is(err, oidc.ErrUnavailable) || problem.CodeOf(err) != problem.IdPUnavailable {
				t.Errorf("got %v", err)
			}
			fast.Add(1)
		})
	}
	// All but those who may wait are answered while the others still wait.
	poll(t, "the rest to be answered at once", func() bool { return fast.Load() >= flood-most })
	if n := reached.Load(); n > most {
		t.Errorf("%d requests reached the provider, want at most %d", n, most)
	}
	// A refresh meanwhile is as good as ever.
	got, err := w.rp.Refresh(t.Context(), oidc.RefreshRequest{RefreshToken: grant.Tokens.RefreshToken, Subject: grant.Claims.Subject})
	if err != nil || got.Claims == nil {
		t.Errorf("a refresh during the flood: %v", err)
	}
	wg.Wait()
	// It is known to be silent now: hardly anybody is sent there.
	before := reached.Load()
	for range flood {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := w.rp.Begin(ctx, oidc.SignInRequest{RedirectURI: callback})
		cancel()
		if !errors.Is(err, oidc.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	if n := reached.Load() - before; n > 5 {
		t.Errorf("%d more requests to an endpoint that does not answer", n)
	}
	// And when it answers again, that is found out without anybody's help.
	close(release)
	poll(t, "sign-ins to work again", func() bool {
		_, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
		return err == nil
	})
	for range most {
		if _, err := w.rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback}); err != nil {
			t.Errorf("after it came back: %v", err)
		}
	}
	poll(t, "nothing to hang any more", func() bool { return hanging.Load() == 0 })
}

// A new generation builds a new client; what is known of the provider stays.
func TestTheBoundOutlivesAGeneration(t *testing.T) {
	threat.Covers(t, 12)
	w := newWorld(t, func(s *setup) { s.us.Timeout = 5 * time.Second })
	if err := w.provider.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var reached atomic.Int64
	w.idp.SetHooks(&idp.Hooks{Before: func(_ http.ResponseWriter, r *http.Request) bool {
		reached.Add(1)
		panic(http.ErrAbortHandler)
	}})
	for range 50 {
		client, err := oidc.NewClient(oidc.ClientOptions{ClientID: clientID, Secret: ring(t, "client-secret", clientSecret)})
		if err != nil {
			t.Fatal(err)
		}
		rp, err := oidc.New(oidc.Options{Provider: w.provider, Client: client, OneTime: w.once, StateKey: ring(t, "state-key", stateKey),
			Callback: oidc.Callback{Static: callback}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = rp.Begin(t.Context(), oidc.SignInRequest{RedirectURI: callback})
		wantError(t, err, oidc.ErrUnavailable)
	}
	if n := reached.Load(); n > 12 { // five, and a probe now and then should the machine be slow
		t.Errorf("%d requests", n)
	}
}

// Nothing was ever heard of the provider, and its metadata hangs too.
func TestNobodyQueuesForMetadataThatFailed(t *testing.T) {
	threat.Covers(t, 12, 67)
	synctest.Test(t, func(t *testing.T) {
		w := &wire{doc: metadata(), delay: time.Hour}
		p := providerOn(t, w)
		wantError(t, p.Load(t.Context()), oidc.ErrUnavailable)
		for range 5 {
			time.Sleep(2 * time.Minute) // any pause is over
			var wg sync.WaitGroup
			var waited atomic.Int64
			for range 1000 {
				wg.Go(func() {
					start := time.Now()
					_, err := p.Metadata(t.Context())
					wantError(t, err, oidc.ErrUnavailable)
					if time.Since(start) > 0 {
						waited.Add(1)
					}
				})
			}
			wg.Wait()
			if waited.Load() != 1 {
				t.Errorf("%d waited, want the one who asks", waited.Load())
			}
		}
		w.set(func(w *wire) { w.delay = 0 })
		time.Sleep(2 * time.Minute)
		if _, err := p.Metadata(t.Context()); err != nil {
			t.Errorf("once it answers: %v", err)
		}
	})
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
