package gateway_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"keyway/internal/gateway"
	"keyway/internal/threat"
)

var allHeaders = gateway.SecurityHeaders{
	HSTS: 8760 * time.Hour, FrameOptions: "SAMEORIGIN", ReferrerPolicy: "strict-origin-when-cross-origin", NoSniff: true,
}

func told(headers gateway.SecurityHeaders) option {
	return func(w *world) {
		w.settings.TrustedProxies = gateway.TrustedProxies{netip.MustParsePrefix("127.0.0.0/8")}
		w.settings.Security = headers
	}
}

// values of a header, joined, so that two are seen to be two.
func values(h http.Header, name string) string { return strings.Join(h.Values(name), " & ") }

func TestSecurityHeaders(t *testing.T) {
	const hsts, frame, referrer, sniff = "Strict-Transport-Security", "X-Frame-Options", "Referrer-Policy", "X-Content-Type-Options"
	ours := map[string]string{hsts: "max-age=31536000", frame: "SAMEORIGIN", referrer: "strict-origin-when-cross-origin", sniff: "nosniff"}
	but := func(changes ...string) map[string]string {
		want := map[string]string{}
		for name, value := range ours {
			want[name] = value
		}
		for i := 0; i < len(changes); i += 2 {
			want[changes[i]] = changes[i+1]
		}
		return want
	}
	w := start(t, told(allHeaders))
	u := w.user().signIn()
	for name, c := range map[string]struct {
		upstream []string
		want     map[string]string
	}{
		"an upstream that says nothing": {nil, ours},
		"one that says all": {
			[]string{hsts, "max-age=1; includeSubDomains", frame, "DENY", referrer, "no-referrer", sniff, "other"},
			map[string]string{hsts: "max-age=1; includeSubDomains", frame: "DENY", referrer: "no-referrer", sniff: "other"},
		},
		"two values of it":                     {[]string{frame, "DENY", frame, "SAMEORIGIN"}, but(frame, "DENY & SAMEORIGIN")},
		"a policy with frame-ancestors":        {[]string{"Content-Security-Policy", "default-src 'self'; Frame-Ancestors https://a.example"}, but(frame, "")},
		"frame-ancestors in the second policy": {[]string{"Content-Security-Policy", "img-src *", "Content-Security-Policy", "frame-ancestors 'none'"}, but(frame, "")},
		"frame-ancestors in a list":            {[]string{"Content-Security-Policy", "img-src *, frame-ancestors 'none'"}, but(frame, "")},
		"a policy without":                     {[]string{"Content-Security-Policy", "default-src frame-ancestors; report-uri /frame-ancestors"}, ours},
		"a policy that only reports":           {[]string{"Content-Security-Policy-Report-Only", "frame-ancestors 'none'"}, ours},
	} {
		for _, path := range []string{"/api/notes", "/public/x"} {
			t.Run(name+path, func(t *testing.T) {
				w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
					for i := 0; i < len(c.upstream); i += 2 {
						rw.Header().Add(c.upstream[i], c.upstream[i+1])
					}
					_, _ = rw.Write([]byte("ok"))
				})
				got := u.do("GET", path, "X-Forwarded-Proto", "https")
				for name, want := range c.want {
					if v := values(got.header, name); v != want {
						t.Errorf("%s is %q, want %q", name, v, want)
					}
				}
				if v := values(u.do("GET", path).header, hsts); v != "" && v != c.want[hsts] || v == ours[hsts] {
					t.Errorf("over http: %s", v)
				}
			})
		}
	}
	w.upstreamAnswers(nil)
	for name, got := range map[string]response{
		"nothing there":    u.do("GET", "/nothing", "X-Forwarded-Proto", "https"),
		"another method":   u.do("DELETE", "/auth/session", "X-Forwarded-Proto", "https"),
		"not signed in":    w.user().do("GET", "/api/notes", "X-Forwarded-Proto", "https"),
		"ambiguous":        u.do("GET", "/api//notes", "X-Forwarded-Proto", "https"),
		"an endpoint":      u.do("GET", "/auth/session", "X-Forwarded-Proto", "https"),
		"a redirect of it": u.do("GET", "/auth/login", "X-Forwarded-Proto", "https"),
	} {
		if got.header.Get(hsts) != ours[hsts] || got.header.Get(sniff) != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, got.header)
		}
	}
	if got := u.do("GET", "/auth/session").header; got.Get("Cross-Origin-Resource-Policy") != "same-origin" || got.Get(hsts) != "" {
		t.Errorf("an endpoint at http: %v", got)
	}
	// Streams have them before their first byte.
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = rw.Write([]byte("data: x\n\n"))
	})
	if got := u.do("GET", "/api/stream"); got.header.Get(frame) != "SAMEORIGIN" || got.body == "" {
		t.Errorf("a stream: %v", got.header)
	}

	off := start(t, told(gateway.SecurityHeaders{}))
	got := off.user().do("GET", "/public/x", "X-Forwarded-Proto", "https").header
	for name := range ours {
		if v := values(got, name); v != "" {
			t.Errorf("switched off, %s is %q", name, v)
		}
	}
}

// What is about one person at one moment is never stored, whatever it is.
func TestPersonalAnswersAreNotStored(t *testing.T) {
	w := start(t, told(allHeaders))
	u := w.user().signIn()
	stored := http.Header{"Cache-Control": {"public, max-age=3600"}, "Expires": {"Fri, 01 Jan 2100 00:00:00 GMT"}, "Etag": {`"1"`}}
	status := http.StatusOK
	w.upstreamAnswers(func(rw http.ResponseWriter, r *http.Request) {
		for name, v := range stored {
			rw.Header()[name] = v
		}
		if status/100 == 3 && status != http.StatusNotModified {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(status)
	})
	for _, status = range []int{200, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 410, 500, 503} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			threat.Covers(t, 24)
			got := u.do("GET", "/api/notes", "If-None-Match", `"1"`)
			if got.status != status || values(got.header, "Cache-Control") != "no-store" || got.header.Get("Expires") != "" {
				t.Errorf("%d, Cache-Control %q, Expires %q", got.status, values(got.header, "Cache-Control"), got.header.Get("Expires"))
			}
		})
	}
	t.Run("a public answer that sets a cookie", func(t *testing.T) {
		threat.Covers(t, 24)
		status = 200
		stored.Set("Set-Cookie", "theme=dark")
		if got := u.do("GET", "/public/x"); values(got.header, "Cache-Control") != "no-store" || got.header.Get("Expires") != "" {
			t.Errorf("%v", got.header)
		}
		stored.Del("Set-Cookie")
		if got := u.do("GET", "/public/x"); values(got.header, "Cache-Control") != "public, max-age=3600" {
			t.Errorf("and one that does not: %v", got.header)
		}
	})
	for _, request := range []string{
		"GET /auth/login", "GET /auth/login?return_to=//evil", "GET /auth/callback", "GET /auth/callback?code=x&state=y", "POST /auth/callback",
		"GET /auth/session", "HEAD /auth/session", "GET /api/auth/session", "GET /auth/csrf", "GET /auth/verify", "GET /auth/forward", "GET /auth/logout",
		"POST /auth/logout", "POST /auth/backchannel-logout", "GET /auth/backchannel-logout", "GET /auth/nothing", "OPTIONS /auth/session",
		"DELETE /auth/session", "GET /auth/health", "GET /health/live", "GET /nothing", "GET /api//notes", "PUT /api/decided", "GET /m2m/notes",
	} {
		t.Run(request, func(t *testing.T) {
			threat.Covers(t, 24)
			method, path, _ := strings.Cut(request, " ")
			for _, who := range []*user{u, w.user()} {
				if got := who.do(method, path, "If-None-Match", "*", "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"); values(got.header, "Cache-Control") != "no-store" {
					t.Errorf("%d, Cache-Control %q", got.status, values(got.header, "Cache-Control"))
				}
			}
		})
	}
}
