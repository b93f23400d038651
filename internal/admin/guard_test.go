package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/secret"
	"keyway/internal/threat"
)

// guarded asks for something beside the API.
func guarded(t *testing.T, o Options, host, token string) answer {
	t.Helper()
	behind := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Host = host
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	New(o).Guard(behind).ServeHTTP(w, r)
	return answer{w.Result(), w.Body.String()} //nolint:bodyclose // there is nothing to close
}

// A page can have its own name lead to this listener, and is of our origin then.
func TestAReboundNameReadsNothing(t *testing.T) {
	threat.Covers(t, 23)
	token := func() (secret.Value, bool) { return secret.NewValue([]byte(goodToken)), true }
	for name, c := range map[string]struct {
		loopback bool
		good     []string
		bad      []string
	}{
		"on loopback": {
			true,
			[]string{"127.0.0.1:8001", "[::1]:8001", "localhost:8001", "LOCALHOST", "127.9.9.9"},
			[]string{"evil.example:8001", "evil.example", "", "127.0.0.1.evil.example:8001", "localhost.evil.example", "10.0.0.7:8001", "keyway:8001"},
		},
		"elsewhere": {
			false,
			[]string{"127.0.0.1:8001", "10.0.0.7:8001", "[2001:db8::7]:8001", "keyway:8001", "keyway.prod.svc:8001", "keyway.prod.svc.cluster.local:8001", "keyway.internal", "localhost:8001"},
			[]string{"evil.example:8001", "evil.example.:8001", "", ":8001", "10.0.0.7.evil.example", "local.evil.example", "evil.svc.example"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, withToken := range []bool{false, true} {
				o := Options{Control: newFake(), Loopback: c.loopback}
				if withToken {
					o.Token = token
				}
				for _, host := range c.good {
					if a := guarded(t, o, host, ""); a.StatusCode != 200 || a.text != "metrics" {
						t.Errorf("%q: %d %s", host, a.StatusCode, a.text)
					}
				}
				for _, host := range c.bad {
					guarded(t, o, host, "").want(t, 403, `"code":"forbidden"`, "BFF_ADMIN_TOKEN_FILE")
					guarded(t, o, host, strings.Repeat("x", 40)).want(t, 403)
					a := guarded(t, o, host, goodToken)
					if served := a.StatusCode == 200; served != withToken {
						t.Errorf("%q, with the token: %d", host, a.StatusCode)
					}
				}
			}
		})
	}
}
