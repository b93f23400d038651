package gateway_test

import (
	"net/http"
	"testing"

	"keyway/internal/gateway"
	"keyway/internal/threat"
)

// TestVerifyAnswers looks at what the proxy gets that asks /auth/verify.
func TestVerifyAnswers(t *testing.T) {
	w := start(t)
	ada := w.user().signIn()
	t.Run("signed in", func(t *testing.T) {
		answer := ada.do("GET", "/auth/verify")
		if answer.status != 200 || answer.body != "" {
			t.Fatalf("%d %q, want 200 and no body", answer.status, answer.body)
		}
		for _, name := range []string{"X-User-Id", "X-Session-Id", "X-Original-User", "X-Correlation-Id"} {
			if answer.header.Get(name) == "" {
				t.Errorf("no %s", name)
			}
		}
		if got := answer.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: %q, want no-store", got)
		}
		// net/http adds two of its own to our map's; Vary is there because these
		// tests have an origin configured. Eight is what a map holds without growing.
		ours := 0
		for name := range answer.header {
			if name != "Date" && name != "Content-Length" && name != "Vary" {
				ours++
			}
		}
		if ours > 8 {
			t.Errorf("%d fields, want at most 8: %v", ours, answer.header)
		}
	})
	t.Run("signed out", func(t *testing.T) {
		answer := w.user().do("GET", "/auth/verify")
		if answer.status != 401 || answer.code() != "unauthenticated" {
			t.Fatalf("%d %s, want 401", answer.status, answer.body)
		}
		// There is a body now, and a browser may be who asked.
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := answer.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

// Whatever happens, /auth/verify says 200, 401 or 403, and what is no yes has
// nobody's name in it. The session stays.
func TestVerifyContract(t *testing.T) {
	w := behind(t)
	ada := w.user().signIn()
	check := func(t *testing.T, u *user, want int, code string, headers ...string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			got := u.do(method, "/auth/verify", headers...)
			if got.status != want || method == "GET" && code != "" && got.code() != code {
				t.Errorf("%s: %d %s, want %d %s", method, got.status, got.body, want, code)
			}
			wantNoIdentityUnlessYes(t, method, got)
			if len(got.header["Set-Cookie"]) > 0 {
				t.Errorf("%s: the cookie was touched: %v", method, got.header["Set-Cookie"])
			}
		}
	}
	t.Run("a health checker's user agent", func(t *testing.T) {
		threat.Covers(t, 40)
		for _, agent := range []string{"kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Envoy/HC", ""} {
			check(t, w.user(), 401, "unauthenticated", "User-Agent", agent)
		}
	})
	t.Run("the query can't be read", func(t *testing.T) {
		threat.Covers(t, 40)
		if got := ada.do("GET", "/auth/verify?a;b"); got.status != 403 || got.code() != "ambiguous_query" {
			t.Errorf("%d %s, want 403", got.status, got.body)
		}
	})
	t.Run("a defect", func(t *testing.T) {
		threat.Covers(t, 40)
		whole := w.current.Load()
		defer w.current.Store(whole)
		parts := whole.Parts
		parts.Sessions = nil
		w.current.Store(gateway.NewGeneration(parts))
		check(t, ada, 403, "internal_error")
		if got := ada.do("GET", "/auth/forward"); got.status != 500 {
			t.Errorf("forward: %d, want 500", got.status)
		}
	})
	t.Run("too busy", func(t *testing.T) {
		threat.Covers(t, 40)
		w.settings.ConcurrentRequests = 1
		w.publish(one("v1"))
		defer func() {
			w.settings.ConcurrentRequests = 0
			w.publish(one("v1"))
		}()
		release, busy := make(chan struct{}), make(chan struct{})
		w.upstreamAnswers(func(http.ResponseWriter, *http.Request) { close(busy); <-release })
		done := make(chan struct{})
		go func() { defer close(done); ada.do("GET", "/api/notes") }()
		<-busy
		check(t, ada, 403, "overloaded")
		close(release)
		<-done
	})
	t.Run("the store is away", func(t *testing.T) {
		threat.Covers(t, 40)
		w.store.goAway()
		check(t, ada, 403, "sessions_unavailable")
		check(t, w.user(), 401, "unauthenticated")
		if got := ada.do("GET", "/auth/forward", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/", "Sec-Fetch-Mode", "navigate"); got.status != 503 {
			t.Errorf("forward: %d, want 503 and no sign-in", got.status)
		}
		w.store.away.Store(false)
		check(t, ada, 200, "")
	})
	t.Run("signed out", func(t *testing.T) {
		threat.Covers(t, 27, 40)
		if got := ada.do("POST", "/auth/logout", "X-CSRF-Token", ada.csrf()); got.status != 303 {
			t.Fatalf("logout: %d", got.status)
		}
		check(t, ada, 401, "")
	})
}
