package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"keyway/internal/oidc"
	"keyway/internal/secret"
)

const callback = "https://app.example/auth/callback"

func TestAuthorizationEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter, r *http.Request)
		ok    bool
		words []string
	}{
		"its page": {serve: func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`<form><input name="redirect_uri" value="` + callback + `"></form>`))
		}, ok: true, words: []string{"shows its page"}},
		"its page, with a cookie, elsewhere": {serve: func(w http.ResponseWriter, r *http.Request) {
			if _, err := r.Cookie("flow"); err != nil {
				http.SetCookie(w, &http.Cookie{Name: "flow", Value: "1", Path: "/", Secure: true})
				http.Redirect(w, r, "/login", http.StatusFound)
				return
			}
			_, _ = w.Write([]byte("sign in"))
		}, ok: true},
		"400": {serve: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad", 400) }, words: []string{callback + " is not registered", "Register exactly"}},
		"a page that says so": {serve: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("AADSTS50011: The redirect URI …"))
		}, words: []string{"not registered"}},
		"an error page": {serve: func(w http.ResponseWriter, r *http.Request) {
			redirectOnce(w, r, "/oauth/error?error=redirect_uri_mismatch")
		}, words: []string{"redirect_uri_mismatch", "not registered"}},
		"another error page":       {serve: func(w http.ResponseWriter, r *http.Request) { redirectOnce(w, r, "/oauth/error?error=policy") }, words: []string{"policy", "does not take our authorization request"}},
		"back with an error":       {serve: back("error=invalid_scope&error_description=no+such"), words: []string{"error=invalid_scope no such", "OIDC_SCOPES"}},
		"back, the client may not": {serve: back("error=unauthorized_client"), words: []string{"code flow"}},
		"back, whatever":           {serve: back("error=server_error"), words: []string{"error=server_error"}},
		"back, as if signed in":    {serve: back("code=x"), words: []string{"signs everybody in"}},
		"500":                      {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, words: []string{"502", "away"}},
		"403":                      {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, words: []string{"403", "keeps us out"}},
		"a circle":                 {serve: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, words: []string{"circle"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(c.serve))
			defer server.Close()
			says(t, idpPage(t.Context(), server.Client(), server.URL+"/authorize", callback), c.ok, c.words...)
		})
	}
}

func redirectOnce(w http.ResponseWriter, r *http.Request, to string) {
	if r.URL.Path == "/authorize" {
		http.Redirect(w, r, to, http.StatusFound)
	}
}

func back(query string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, callback+"?"+query, http.StatusFound)
	}
}

func TestSignInThatCanNotBeBegun(t *testing.T) {
	for word, err := range map[string]error{
		callback + " is not registered": &oidc.OAuthError{Endpoint: "par", Status: 400, Code: "invalid_request", Description: "redirect_uri is not registered"},
		"See credentials.p.":            &oidc.OAuthError{Endpoint: "par", Status: 401, Code: "invalid_client"},
		"OIDC_SCOPES":                   &oidc.OAuthError{Endpoint: "par", Status: 400, Code: "invalid_scope"},
		"away":                          &oidc.UnavailableError{Endpoint: "par", Status: 503},
		"See idp.discovery.p":           errors.New("anything"),
		"back to auto":                  fmt.Errorf("%w: oidc.dpop", oidc.ErrNotOffered),
	} {
		says(t, notBegun("p", callback, err), false, word)
	}
	absent := &oidc.UnavailableError{Endpoint: "discovery", Status: 404, Cause: oidc.ErrNoMetadata}
	if f := notBegun("p", callback, absent); strings.Contains(f.cause, "is away") || !strings.Contains(f.cause, "answers, but has no metadata") {
		t.Errorf("a provider that answers is said to be away: %s", f.cause)
	}
	metadata := func(context.Context) (*oidc.Metadata, error) { return nil, absent }
	if f := (inside{}).credentials(t.Context(), Peer{Name: "p", Metadata: metadata}); strings.Contains(f.cause, "is away") || !strings.Contains(f.cause, "answers, but has no metadata") {
		t.Errorf("a provider that answers is said to be away: %s", f.cause)
	}
}

func TestBearerTokens(t *testing.T) {
	run := func(s Subject, n int) finding { return inside{Subject: s}.bearer()[n].run(t.Context()) }
	says := func(f finding, ok bool, words ...string) { t.Helper(); says(t, f, ok, words...) }
	by := func(p Presented) func(context.Context, string) Presented {
		return func(context.Context, string) Presented { return p }
	}
	peers := []Peer{{Name: "a", Issuer: "https://a.example"}}
	says(run(Subject{Peers: peers, Bearer: by(Refused)}, 0), true, "each is refused")
	says(run(Subject{Peers: peers, Bearer: by(Unknown)}, 0), true, "could not be asked")
	says(run(Subject{Peers: peers, Bearer: by(Accepted)}, 0), false, "is accepted", "strangers")
	fresh := func(context.Context) (string, error) { return "x", nil }
	says(run(Subject{Bearer: by(Accepted), Fresh: fresh}, 1), true)
	says(run(Subject{Bearer: by(Refused), Fresh: fresh}, 1), false, "it is refused", "idps.yaml")
	says(run(Subject{Bearer: by(Unknown), Fresh: fresh}, 1), false, "nobody can say")
	says(run(Subject{Bearer: by(Refused), Fresh: func(context.Context) (string, error) { return "", errors.New("not allowed") }}, 1), true, "none can be had")
	if len(inside{}.bearer()) != 0 {
		t.Error("checks without bearer routes")
	}
	for kind, token := range madeUp(peers) {
		if strings.Contains(kind, "JWT") != (strings.Count(token, ".") == 2) {
			t.Errorf("%s: %s", kind, token)
		}
	}
}

// site is a gateway and a provider with plain forms, in one.
type site struct {
	wrong  string // which step fails
	logins int
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	problem := func(status int, code string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"code":"` + code + `"}`))
	}
	_, err := r.Cookie("session")
	switch r.URL.Path {
	case "/auth/login":
		http.Redirect(w, r, "/idp", http.StatusSeeOther)
	case "/idp":
		if s.wrong == "page" {
			_, _ = w.Write([]byte("<p>only with scripts"))
			return
		}
		_, _ = w.Write([]byte(`<form action=search><input name=q></form>
			<form method=post action="/idp/login"><input type=hidden name=flow value=7><input name=username><input type=password name=password>
			<input type=checkbox name=remember value=1><button name=do value=login>Go</button><button name=do value=cancel>No</button></form>`))
	case "/idp/login":
		s.logins++
		_ = r.ParseForm()
		want := url.Values{"flow": {"7"}, "username": {"ada"}, "password": {"right"}, "do": {"login"}}
		if r.Form.Encode() != want.Encode() {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`<form method=post action="/idp/login"><input name=username><input name=password></form>`))
			return
		}
		http.Redirect(w, r, "/auth/callback?code=x", http.StatusFound)
	case "/auth/callback":
		if s.wrong == "callback" {
			problem(502, "idp_failed")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s", Path: "/", Secure: true, HttpOnly: true})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case "/auth/session":
		w.Header().Set("Content-Type", "application/json")
		if err != nil || s.wrong == "session" {
			_, _ = w.Write([]byte(`{"authenticated":false}`))
			return
		}
		_, _ = w.Write([]byte(`{"authenticated":true}`))
	case "/api":
		switch s.wrong {
		case "api":
			problem(401, "unauthenticated")
		case "upstream":
			problem(502, "upstream_failed")
		}
	case "/auth/csrf":
		_, _ = w.Write([]byte(`{"csrf_token":"t"}`))
	case "/auth/logout":
		if r.Header.Get("X-CSRF-Token") != "t" || s.wrong == "logout" {
			problem(403, "csrf_failed")
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

func TestWholeSignIn(t *testing.T) {
	for wrong, words := range map[string][]string{
		"":         {"ada signs in, /api answers 200, and signs out"},
		"password": {"asks for the password again", "locked"},
		"page":     {"expected a form, found none", "plain forms"},
		"callback": {"the callback answers 502 (idp_failed)"},
		"session":  {"/auth/session says otherwise", "cookie"},
		"api":      {"/api answers 401 to who is signed in"},
		"upstream": {"502 (upstream_failed)", "API behind that route is away"},
		"logout":   {"sign-out answers 403 (csrf_failed)"},
	} {
		t.Run(wrong, func(t *testing.T) {
			s := &site{wrong: wrong}
			server := httptest.NewServer(s)
			defer server.Close()
			password := "right"
			if wrong == "password" {
				password = "of somebody else"
			}
			f := wholeSignIn(t.Context(), server.Client(), Deployment{Public: server.URL, Session: "/api"}, "ada", secret.NewValue([]byte(password)))
			says(t, f, wrong == "", words...)
			if s.logins > 2 {
				t.Errorf("the account was tried %d times: it would be locked", s.logins)
			}
			if strings.Contains(f.saw+f.cause+f.cure, password) {
				t.Errorf("shows the password: %+v", f)
			}
		})
	}
}

func FuzzFormOf(f *testing.F) {
	for _, seed := range []string{
		`<form method=post action=/x><input name=username><input name=password type=password></form>`, `<form>`, `<form method=POST action=":">`, `<input name=a>`, ``, `<form method=post><form method=post><button name=a>`,
	} {
		f.Add(seed)
	}
	page, err := url.Parse("https://id.example/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, asks, err := formOf(page, []byte(body), map[string]string{"username": "ada", "password": "secret"})
		if err != nil {
			return
		}
		if asks && !slices.Contains(form.values["password"], "secret") {
			t.Errorf("%q: it says that it asks, and nothing is filled in", body)
		}
		if _, err := url.Parse(form.to); err != nil {
			t.Errorf("%q leads to %q", body, form.to)
		}
	})
}
