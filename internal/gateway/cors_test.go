package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"keyway/internal/threat"
)

// raw sends bytes to the gateway, which no client library has tidied.
func (w *world) raw(request string) response {
	w.t.Helper()
	return (&logouts{world: w}).raw(request)
}

// Origins that look like the partner's and are not, as they are on the wire.
var strangers = map[string]string{
	"another site":     "Origin: https://evil.example",
	"null":             "Origin: null",
	"suffix":           "Origin: https://evilpartner.example",
	"subdomain":        "Origin: https://a.partner.example",
	"prefix":           "Origin: https://partner.example.evil.test",
	"prefix, by @":     "Origin: https://partner.example@evil.test",
	"userinfo":         "Origin: https://u@partner.example",
	"case of the host": "Origin: https://PARTNER.example",
	"case of scheme":   "Origin: HTTPS://partner.example",
	"http twin":        "Origin: http://partner.example",
	"other scheme":     "Origin: file://partner.example",
	"port":             "Origin: https://partner.example:8443",
	"the usual port":   "Origin: https://partner.example:443",
	"trailing dot":     "Origin: https://partner.example.",
	"trailing slash":   "Origin: https://partner.example/",
	"with a path":      "Origin: https://partner.example/x",
	"dot is no regexp": "Origin: https://partnerxexample",
	"IDN look-alike":   "Origin: https://xn--prtner-4ve.example",
	"not ASCII":        "Origin: https://p\u0430rtner.example",
	"asterisk":         "Origin: *",
	"list in one":      "Origin: https://partner.example, https://evil.example",
	"list by space":    "Origin: https://partner.example https://evil.example",
	"two headers":      "Origin: https://partner.example\r\nOrigin: https://evil.example",
	"two, other order": "Origin: https://evil.example\r\nOrigin: https://partner.example",
	"two equal ones":   "Origin: https://partner.example\r\nOrigin: https://partner.example",
	"empty":            "Origin:",
	"tab in it":        "Origin: https://partner.example\thttps://evil.example",
}

func TestCORSForStrangers(t *testing.T) {
	w := start(t)
	u := w.user().signIn()
	cookie := "Cookie: bff_session=" + u.cookie("bff_session") + "\r\n"
	token := "X-CSRF-Token: " + u.csrf() + "\r\n"
	for name, origin := range strangers {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 30, 31)
			for _, path := range []string{"/api/notes", "/public/x", "/auth/session", "/auth/csrf", "/nothing", "/m2m/notes"} {
				before := w.lastSeen()
				preflight := w.raw("OPTIONS " + path + " HTTP/1.1\r\nHost: a\r\n" + origin + "\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-csrf-token\r\n" + cookie + "\r\n")
				wantNoCORS(t, "preflight of "+path, preflight)
				if w.lastSeen() != before {
					t.Errorf("a preflight of %s reached the upstream", path)
				}
				wantNoCORS(t, "GET "+path, w.raw("GET "+path+" HTTP/1.1\r\nHost: a\r\n"+origin+"\r\n"+cookie+"\r\n"))
			}
			before := w.lastSeen()
			got := w.raw("POST /api/notes HTTP/1.1\r\nHost: " + strings.TrimPrefix(w.server.URL, "http://") + "\r\n" + origin + "\r\n" + cookie + token + "Content-Length: 0\r\n\r\n")
			if got.status != 403 && got.status != 400 || w.lastSeen() != before {
				t.Errorf("a POST with cookie and token: %d %s", got.status, got.body)
			}
			wantNoCORS(t, "POST", got)
		})
	}
}

func wantNoCORS(t *testing.T, what string, got response) {
	t.Helper()
	for name := range got.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %s: %s", what, name, got.header.Get(name))
		}
	}
	// net/http itself refuses what is no header, and has nothing to vary.
	if got.status != 400 && !strings.Contains(values(got.header, "Vary"), "Origin") {
		t.Errorf("%s: Vary is %q", what, values(got.header, "Vary"))
	}
}

func TestCORSForThePartner(t *testing.T) {
	threat.Covers(t, 31)
	w := start(t)
	u := w.user().signIn()
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Vary", "Accept-Encoding")
		rw.Header().Set("Access-Control-Allow-Origin", "*")
		rw.Header().Set("Access-Control-Expose-Headers", "X-Secret")
	})
	for _, path := range []string{"/api/notes", "/public/x", "/auth/session", "/nothing", "/api//notes", "/m2m/notes"} {
		got := u.do("GET", path, "Origin", partner)
		h := got.header
		if values(h, "Access-Control-Allow-Origin") != partner || values(h, "Access-Control-Allow-Credentials") != "true" ||
			values(h, "Access-Control-Expose-Headers") != "X-Correlation-ID, Retry-After, WWW-Authenticate" || !strings.Contains(values(h, "Vary"), "Origin") {
			t.Errorf("%s: %d %v", path, got.status, h)
		}
		// Nor is anything said without an Origin, and a cache is told all the same.
		if h := u.do("GET", path).header; h.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(values(h, "Vary"), "Origin") {
			t.Errorf("%s, no Origin: %v", path, h)
		}
	}
	preflight := func(path, method string) response {
		return u.do("OPTIONS", path, "Origin", partner, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "x-evil")
	}
	for path, want := range map[string]string{
		"/api/notes":   "Content-Type, X-CSRF-Token, X-Correlation-ID",
		"/m2m/notes":   "Content-Type, X-CSRF-Token, X-Correlation-ID, Authorization",
		"/auth/logout": "Content-Type, X-CSRF-Token, X-Correlation-ID",
	} {
		before := w.lastSeen()
		got := preflight(path, "POST")
		if got.status != 204 || values(got.header, "Access-Control-Allow-Headers") != want || !strings.Contains(values(got.header, "Access-Control-Allow-Methods"), "POST") ||
			values(got.header, "Cache-Control") != "no-store" || got.body != "" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
		if v := values(got.header, "Vary"); !strings.Contains(v, "Origin") || !strings.Contains(v, "Access-Control-Request-Method") {
			t.Errorf("%s: Vary is %q", path, v)
		}
		if w.lastSeen() != before {
			t.Errorf("%s: the upstream saw it", path)
		}
	}
	if got := preflight("/auth/session", "GET"); strings.Contains(got.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("/auth/session: %v", got.header)
	}
	if got := preflight("/nothing", "GET"); got.status != 404 || got.header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("a path of no route: %d %v", got.status, got.header)
	}
	if got := preflight("/api/notes", strings.Repeat("X", 4000)); len(fmt.Sprint(got.header)) > 2000 {
		t.Errorf("a method that is none: %v", got.header)
	}
}

// Without a list nothing varies by Origin, and nobody is allowed.
func TestCORSWithoutAList(t *testing.T) {
	threat.Covers(t, 31)
	w := start(t, func(w *world) { w.settings.CORS = nil })
	for _, path := range []string{"/public/x", "/auth/session", "/nothing"} {
		got := w.user().do("GET", path, "Origin", partner)
		if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Vary") != "" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
}
