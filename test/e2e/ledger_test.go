package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"keyway/internal/testkit/leakhunt"
)

// ledger knows the secrets that a test has used, and looks for them where they
// must not be. Every test on a world does so at its end.
type ledger struct {
	mu      sync.Mutex
	secrets map[string]string // value -> what it is
}

// add remembers a secret. Short values would be found everywhere.
func (l *ledger) add(what, value string) {
	if len(value) < 8 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.secrets == nil {
		l.secrets = map[string]string{}
	}
	l.secrets[value] = what
	leakhunt.Secret(nil, what, value)
}

// aJWT is any JSON web token, whoever made it.
var aJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`)

// find says which secret text holds; "" if none.
func (l *ledger) find(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for value, what := range l.secrets {
		if strings.Contains(text, value) || strings.Contains(text, url.QueryEscape(value)) {
			return what
		}
	}
	if aJWT.MatchString(text) {
		return "a JSON web token"
	}
	return ""
}

// learn takes the secrets out of what a browser has exchanged.
func (l *ledger) learn(trace *Trace) {
	for _, e := range trace.Exchanges("") {
		l.add("an authorization code", e.URL.Query().Get("code"))
		cookies := append((&http.Response{Header: e.Header}).Cookies(), e.Cookies...)
		for _, c := range cookies {
			if c.Name != "bff_csrf" { // script may read it, and /auth/csrf says it
				l.add("the value of cookie "+c.Name, c.Value)
			}
		}
		if at, err := url.Parse(e.Header.Get("Location")); err == nil {
			l.add("an ID token", at.Query().Get("id_token_hint"))
		}
	}
}

// inTrace looks through everything that a gateway at host has sent to a browser.
// Three things are allowed: a cookie that is set, to its owner; the hint by which
// the browser tells the provider what it is to sign out of (OpenID Connect
// RP-Initiated Logout section 2); and the way on to /auth/callback of a response
// that came as a form.
func (l *ledger) inTrace(t testing.TB, trace *Trace, host string) {
	t.Helper()
	for _, e := range trace.Exchanges(host) {
		var sent strings.Builder
		for name, values := range e.Header {
			for _, v := range values {
				switch {
				case name == "Set-Cookie":
				case name == "Location" && e.URL.Path == "/auth/logout":
				case name == "Location" && e.URL.Path == "/auth/callback" && strings.HasPrefix(v, "/auth/callback?"):
				default:
					fmt.Fprintf(&sent, "%s: %s\n", name, v)
				}
			}
		}
		if what := l.find(sent.String()); what != "" {
			t.Errorf("%s %s: the response's header holds %s", e.Method, e.URL.Path, what)
		}
		if what := l.find(e.Body()); what != "" {
			t.Errorf("%s %s: the response's body holds %s", e.Method, e.URL.Path, what)
		}
	}
}
