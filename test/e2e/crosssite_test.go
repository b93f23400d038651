package e2e

import (
	"net/url"
	"strings"
	"testing"

	"keyway/internal/threat"
)

func TestCSRF(t *testing.T) {
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	b, other := w.signedIn(t, gateway), w.signedIn(t, gateway)
	token, others := b.CSRF(t), other.CSRF(t)
	for name, headers := range map[string][]string{
		"missing":                {},
		"empty":                  {"X-CSRF-Token", ""},
		"of another session":     {"X-CSRF-Token", others},
		"cut":                    {"X-CSRF-Token", token[:len(token)-2]},
		"text/plain":             {"Content-Type", "text/plain"},
		"a planted cookie":       {"Cookie", "__Host-bff_session=" + b.Jar.Get("__Host-bff_session").Value + "; bff_csrf=x", "X-CSRF-Token", "x"},
		"another session's both": {"Cookie", "__Host-bff_session=" + b.Jar.Get("__Host-bff_session").Value + "; bff_csrf=" + others, "X-CSRF-Token", others},
		"under another name":     {"X_CSRF_Token", token, "X-XSRF-Token", token},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 29)
			w.API.forget()
			client := b
			if strings.Contains(strings.Join(headers, " "), "__Host-") {
				client = NewBrowser(gateway.URL) // whose cookies are those of the header
			}
			wantProblem(t, client.Do(t, "POST", "/api/notes", `{"text":"x"}`, headers...), 403, "csrf_failed")
			wantProblem(t, client.Do(t, "POST", "/api/notes?X-CSRF-Token="+token+"&csrf="+token, "", headers...), 403, "csrf_failed")
			for _, method := range []string{"PUT", "PATCH", "DELETE"} {
				wantProblem(t, client.Do(t, method, "/api/echo", "", headers...), 403, "csrf_failed")
			}
			wantProblem(t, client.Do(t, "POST", "/auth/logout", "", headers...), 403, "csrf_failed")
			if got := w.API.lastArrival(); got.Method != "" {
				t.Errorf("the API saw %+v", got)
			}
		})
	}
	t.Run("GET logout", func(t *testing.T) {
		threat.Covers(t, 51)
		wantProblem(t, b.Get(t, "/auth/logout"), 403, "csrf_failed")
		wantProblem(t, b.Get(t, "/auth/logout?csrf="+others), 403, "csrf_failed")
		if !b.SignedIn(t) {
			t.Fatal("signed out by an image")
		}
		wantStatus(t, b.Get(t, "/auth/logout?csrf="+token), 303)
		if b.SignedIn(t) {
			t.Error("still signed in")
		}
	})
}

func TestOrigins(t *testing.T) {
	const friend = "https://app.example"
	w := newWorld(t, setup{Env: Env{"CORS__ALLOW_ORIGINS": `["` + friend + `"]`}})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	token := b.CSRF(t)
	for _, origin := range []string{
		"null", "http://app.example", "https://app.example.evil.example", "https://evilapp.example", "https://app.example:8443",
		"https://sub.app.example", "https://APP.example", strings.Replace(gateway.URL, "http:", "https:", 1), gateway.URL + "0",
	} {
		t.Run(origin, func(t *testing.T) {
			threat.Covers(t, 30, 31)
			w.API.forget()
			wantProblem(t, b.Do(t, "POST", "/api/notes", "{}", "X-CSRF-Token", token, "Origin", origin), 403, "cross_origin")
			preflight := NewBrowser(gateway.URL).Do(t, "OPTIONS", "/api/notes", "", "Origin", origin, "Access-Control-Request-Method", "POST")
			for _, a := range []Answer{preflight, b.Get(t, "/auth/session", "Origin", origin)} {
				if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("Access-Control-Allow-Origin: %q", got)
				}
				if !strings.Contains(strings.Join(a.Header["Vary"], ","), "Origin") {
					t.Errorf("Vary: %v", a.Header["Vary"])
				}
			}
			if got := w.API.lastArrival(); got.Method != "" {
				t.Errorf("the API saw %+v", got)
			}
		})
	}
	t.Run("fetch metadata", func(t *testing.T) {
		threat.Covers(t, 30)
		for _, site := range []string{"cross-site", "same-site"} {
			wantProblem(t, b.Do(t, "POST", "/api/notes", "{}", "X-CSRF-Token", token, "Sec-Fetch-Site", site), 403, "cross_origin")
		}
	})
	t.Run("allowed", func(t *testing.T) {
		threat.Covers(t, 31)
		w.API.forget()
		a := NewBrowser(gateway.URL).Do(t, "OPTIONS", "/api/notes", "", "Origin", friend, "Access-Control-Request-Method", "POST")
		if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != friend || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("preflight: %s %v", a.Status, a.Header)
		}
		if got := w.API.lastArrival(); got.Method != "" {
			t.Errorf("the preflight reached the API: %+v", got)
		}
		a = b.Do(t, "POST", "/api/notes", `{"text":"x"}`, "X-CSRF-Token", token, "Origin", friend, "Sec-Fetch-Site", "cross-site", "Content-Type", "application/json")
		if a.StatusCode != 201 || a.Header.Get("Access-Control-Allow-Origin") != friend {
			t.Errorf("call: %s %v", a.Status, a.Header)
		}
	})
}

// What a proxy that asks about a session may count on.
func TestVerifyContract(t *testing.T) {
	threat.Covers(t, 40)
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	b := w.signedIn(t, gateway)
	a := b.Get(t, "/auth/verify", "X-User-ID", "mallory")
	wantStatus(t, a, 200)
	if a.Text != "" || a.Header.Get("X-User-Id") != "ada" || a.Header.Get("X-Original-User") != "auth:account:oidc:ada" || a.Header.Get("X-Session-Id") == "" {
		t.Errorf("%q %v", a.Text, a.Header)
	}
	stranger := NewBrowser(gateway.URL)
	for _, agent := range []string{"", "kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"} {
		a := stranger.Get(t, "/auth/verify", "User-Agent", agent, "X-User-ID", "mallory", "X-Original-URI", "/health", "X-Forwarded-Uri", "/health")
		wantProblem(t, a, 401, "unauthenticated")
		for name := range a.Header {
			if strings.HasPrefix(name, "X-User") || name == "X-Original-User" {
				t.Errorf("%s: %s", agent, name)
			}
		}
	}
}

// Every way that is known to lead a user elsewhere after a sign-in.
func TestReturnTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	for _, to := range []string{
		"//evil.example", "https://evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "/%09/evil.example", "/%2f/evil.example",
		"https:evil.example", "javascript:alert(1)", "///evil.example", "/./\\evil.example", gateway.URL + ".evil.example", gateway.URL + "@evil.example",
		"@evil.example", ".evil.example", " //evil.example", "\r\n//evil.example", "/x\r\nSet-Cookie: a=b", "/../..//evil.example", "http://localhost@evil.example/",
	} {
		t.Run(to, func(t *testing.T) {
			threat.Covers(t, 13)
			b := w.browser(gateway)
			a := b.Get(t, "/auth/login?return_to="+url.QueryEscape(to))
			if a.StatusCode == 400 {
				return // refused right away
			}
			b = w.browser(gateway)
			back := mustURL(t, b.SignIn(t, "ada", to).Header.Get("Location"))
			if back.Host != "" && back.Host != mustURL(t, gateway.URL).Host || back.Scheme != "" && back.Scheme != "http" || !strings.HasPrefix(back.Path, "/") || strings.HasPrefix(back.Path, "//") || strings.Contains(back.String(), `\`) {
				t.Errorf("sent to %s", back)
			}
		})
	}
}
