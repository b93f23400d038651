package gateway_test

import (
	"testing"
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
