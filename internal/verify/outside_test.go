package verify

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// gatewayOf answers as a gateway does, but for the path in wrong.
func gatewayOf(wrong string, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		problem := func(status int) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"code":"unauthenticated"}`))
		}
		switch {
		case r.URL.Path == wrong:
			answer(w, r)
		case r.URL.Path == "/health/live":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{}`))
		case r.URL.Path == "/.well-known/jwks.json":
			w.Header().Set("Content-Type", "application/jwk-set+json")
			w.Header().Set("Cache-Control", good5min)
			_, _ = w.Write([]byte(document("k1")))
		case r.URL.Path == "/auth/login":
			w.Header().Set("Cache-Control", "no-store")
			http.SetCookie(w, &http.Cookie{Name: "bff_login", Value: "x", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: true})
			http.Redirect(w, r, "https://id.example/authorize?client_id=me", http.StatusSeeOther)
		case r.URL.Path == "/api", r.URL.Path == "/auth/verify", r.URL.Path == "/m2m":
			problem(http.StatusUnauthorized)
		default:
			problem(http.StatusNotFound)
		}
	})
}

func TestOutside(t *testing.T) {
	redirect := func(to string, cookie *http.Cookie) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			if cookie != nil {
				http.SetCookie(w, cookie)
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
		}
	}
	status := func(code int, kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(code)
		}
	}
	const idp = "https://id.example/authorize"
	flags := &http.Cookie{Name: "c", Value: "x", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: true}
	without := func(change func(c *http.Cookie)) http.HandlerFunc {
		c := *flags
		change(&c)
		return redirect(idp, &c)
	}
	for name, c := range map[string]struct {
		path   string
		answer http.HandlerFunc
		id     string
		words  []string
	}{
		"all is well":                   {},
		"the proxy does not reach it":   {"/health/live", status(502, "text/html"), "outside.live", []string{"502", "does not reach it"}},
		"it is something else":          {"/health/live", status(200, "text/html"), "outside.live", []string{"something else than the gateway"}},
		"a stranger gets in":            {"/api", status(200, "application/json"), "outside.session", []string{"200 to a stranger"}},
		"an error page of the proxy":    {"/api", status(401, "text/html"), "outside.session", []string{"replaces its error pages"}},
		"401 that may be stored":        {"/api", status(401, "application/problem+json"), "outside.session", []string{"changes cache headers"}},
		"the session route is away":     {"/api", status(503, "text/html"), "outside.session", []string{"503"}},
		"a made-up token gets in":       {"/m2m", status(204, ""), "outside.bearer.m", []string{"204 to a token that is made up", "Close it now", "keyway routes explain GET /m2m"}},
		"nobody can say of a token":     {"/m2m", status(503, ""), "outside.bearer.m", []string{"nobody can say", "Nobody is let in"}},
		"another answers for the route": {"/m2m", status(404, ""), "outside.bearer.m", []string{"expected 401"}},
		"sign-in leads elsewhere":       {"/auth/login", redirect("https://evil.example/authorize", flags), "outside.signin", []string{"https://evil.example/authorize", "the metadata names " + idp}},
		"sign-in leads back elsewhere":  {"/auth/login", redirect(idp+"?redirect_uri=https%3A%2F%2Fother.example%2Fauth%2Fcallback", flags), "outside.signin", []string{"back to other.example", "Host"}},
		"no HttpOnly":                   {"/auth/login", without(func(c *http.Cookie) { c.HttpOnly = false }), "outside.cookies", []string{"without HttpOnly"}},
		"no Secure":                     {"/auth/login", without(func(c *http.Cookie) { c.Secure = false }), "outside.cookies", []string{"without Secure", "BFF_COOKIE_SECURE"}},
		"no SameSite":                   {"/auth/login", without(func(c *http.Cookie) { c.SameSite = 0 }), "outside.cookies", []string{"without SameSite"}},
		"no cookie":                     {"/auth/login", redirect(idp, nil), "outside.cookies", []string{"strips Set-Cookie"}},
		"metrics are public": {"/metrics", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = w.Write([]byte("# TYPE bff_secret_age_seconds gauge\n"))
		}, "outside.admin", []string{"/metrics", "admin listener"}},
		"the admin API is public, and refuses": {"/admin/v1/status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="keyway-admin"`)
			w.WriteHeader(401)
		}, "outside.admin", []string{"/admin/v1/status"}},
		"the console is public": {"/console/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<title>Sign in – Keyway</title>"))
		}, "outside.admin", []string{"/console/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(gatewayOf(c.path, c.answer))
			defer server.Close()
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			r := Outside(t.Context(), View{URL: u, MaxAge: 5 * time.Minute, Deployment: Deployment{
				ActiveKey: "k1", Keys: []string{"k1"}, Authorization: idp, Session: "/api", Bearer: []Route{{"m", "GET", "/m2m"}}, SecureCookie: true,
			}})
			failed := r.Failed()
			if c.id == "" {
				if !r.OK {
					t.Errorf("%+v", failed)
				}
				return
			}
			if len(failed) != 1 || failed[0].ID != c.id {
				t.Fatalf("expected that %s fails, found %+v", c.id, failed)
			}
			says(t, finding{saw: failed[0].Saw, cause: failed[0].Cause, cure: failed[0].Cure}, false, c.words...)
		})
	}
}

// A page of an application that answers everywhere is not the admin side.
func TestAnApplicationThatAnswersEverywhere(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>An app</title>"))
	}))
	defer server.Close()
	says(t, exposed(t.Context(), server.Client(), server.URL), true)
}

func TestPlainHTTPBeyondLoopback(t *testing.T) {
	says(t, outside{View: View{URL: &url.URL{Scheme: "http", Host: "app.example"}}}.certificate(t.Context()), false, "plain http", "TLS ends nowhere")
}

func TestAddressesAndRoutes(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://app.example": true, "https://app.example/": true, "http://127.0.0.1:8000": true,
		"app.example": false, "ftp://app.example": false, "https://u:p@app.example": false, "https://app.example/path": false, "https://app.example?x": false, "": false,
	} {
		if _, err := ParseURL(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]Route{
		"/m2m": {"/m2m", "GET", "/m2m"}, "post /m2m": {"/m2m", "POST", "/m2m"}, "m2m": {}, "GET m2m": {}, "GET /a b": {}, "": {},
	} {
		got, err := ParseRoute(text)
		if got != want || (err == nil) != (want != Route{}) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	if !strings.Contains(ErrURL.Error(), "https://") {
		t.Error(ErrURL)
	}
}
