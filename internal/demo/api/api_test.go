package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keyway/internal/demo/api"
	"keyway/internal/threat"
)

const (
	adaToken     = "token-of-ada-7f3a"
	graceToken   = "token-of-grace-91c0"
	machineToken = "token-of-machine-2b6e"
)

// verify knows three tokens, and two that stand for what can go wrong.
func verify(_ context.Context, token string) (api.Subject, error) {
	switch token {
	case adaToken:
		return api.Subject{ID: "ada", ClientID: "keyway"}, nil
	case graceToken:
		return api.Subject{ID: "grace", ClientID: "keyway"}, nil
	case machineToken:
		return api.Subject{ID: "demo-machine", ClientID: "demo-machine"}, nil
	case "idp-away":
		return api.Subject{}, fmt.Errorf("introspect: %w", api.ErrUnavailable)
	case "nobody":
		return api.Subject{}, nil
	}
	return api.Subject{}, errors.New("internal: no such token " + token)
}

func newAPI(o api.Options) http.Handler {
	o.Verify = verify
	return api.New(o)
}

// request makes a request of Ada's; opts change it.
func request(method, target, body string, opts ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+adaToken)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, o := range opts {
		o(r)
	}
	return r
}

func as(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("body is not the JSON expected: %v\n%s", err, w.Body)
	}
	return v
}

type problemDoc struct {
	Title, Code, Detail string
	Status              int
	CorrelationID       string `json:"correlation_id"`
}

// wantProblem checks status, media type and code, and returns the document.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) problemDoc {
	t.Helper()
	p := decode[problemDoc](t, w)
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type = %q", ct)
	}
	if w.Code != status || p.Status != status || p.Code != code || p.Title == "" || p.Detail == "" {
		t.Errorf("status %d, document %+v; want %d %s", w.Code, p, status, code)
	}
	return p
}

func TestEveryResourceWantsAToken(t *testing.T) {
	threat.Covers(t, 43)
	h := newAPI(api.Options{})
	long := strings.Repeat("a", 20<<10)
	for name, set := range map[string]func(*http.Request){
		"none":              func(r *http.Request) { r.Header.Del("Authorization") },
		"empty":             header("Authorization", ""),
		"scheme alone":      header("Authorization", "Bearer"),
		"blank token":       header("Authorization", "Bearer  "),
		"basic":             header("Authorization", "Basic "+adaToken),
		"bare token":        header("Authorization", adaToken),
		"two tokens":        header("Authorization", "Bearer "+adaToken+" "+adaToken),
		"list":              header("Authorization", "Bearer "+adaToken+", Bearer x"),
		"very long":         header("Authorization", "Bearer "+long),
		"two fields":        func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+adaToken) },
		"in query":          func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "access_token=" + adaToken },
		"in cookie":         func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Cookie", "access_token="+adaToken) },
		"identity headers":  func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-User-ID", "ada") },
		"made up":           as("made-up"),
		"token of nobody":   as("nobody"),
		"token, other case": as(strings.ToUpper(adaToken)),
	} {
		for _, path := range []string{"/notes", "/echo", "/ticks", "/ws", "/m2m/notes", "/nothing"} {
			t.Run(name+path, func(t *testing.T) {
				w := do(h, request("GET", path, "", set))
				if w.Code != http.StatusUnauthorized {
					t.Fatalf("status %d", w.Code)
				}
				if c := w.Header().Get("WWW-Authenticate"); !strings.HasPrefix(c, `Bearer realm="`) {
					t.Errorf("WWW-Authenticate = %q", c)
				}
				if strings.Contains(w.Body.String(), adaToken) || strings.Contains(w.Body.String(), "made-up") || strings.Contains(w.Body.String(), "internal:") {
					t.Errorf("the answer repeats a token or the verifier's error: %s", w.Body)
				}
			})
		}
	}
}

func TestChallengeNamesTheFault(t *testing.T) {
	h := newAPI(api.Options{})
	w := do(h, request("GET", "/notes", "", func(r *http.Request) { r.Header.Del("Authorization") }))
	wantProblem(t, w, 401, "token_required")
	if c := w.Header().Get("WWW-Authenticate"); strings.Contains(c, "error=") {
		t.Errorf("RFC 6750 3.1: no error code without credentials, got %q", c)
	}
	w = do(h, request("GET", "/notes", "", as("made-up"), header("X-Correlation-ID", "c-1\x00\x1b[31m")))
	if p := wantProblem(t, w, 401, "invalid_token"); p.CorrelationID != "c-1[31m" {
		t.Errorf("correlation id = %q", p.CorrelationID)
	}
	if c := w.Header().Get("WWW-Authenticate"); !strings.Contains(c, `error="invalid_token"`) {
		t.Errorf("WWW-Authenticate = %q", c)
	}
}

func TestVerifierAwayIsNotTheTokensFault(t *testing.T) {
	w := do(newAPI(api.Options{}), request("GET", "/notes", "", as("idp-away")))
	wantProblem(t, w, 503, "verification_unavailable")
	if w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("headers %v", w.Header())
	}
}

func TestSchemeIsCaseInsensitive(t *testing.T) {
	w := do(newAPI(api.Options{}), request("GET", "/notes", "", header("Authorization", "bEARER "+adaToken)))
	if w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
}

func TestUnknownResourceAndMethod(t *testing.T) {
	h := newAPI(api.Options{})
	for _, path := range []string{"/nothing", "/", "//notes", "/notes/", "/x/../notes"} {
		wantProblem(t, do(h, request("GET", path, "")), 404, "not_found")
	}
	w := do(h, request("DELETE", "/notes", ""))
	wantProblem(t, w, 405, "method_not_allowed")
	if got := w.Header().Get("Allow"); got != "GET, POST" {
		t.Errorf("Allow = %q", got)
	}
	wantProblem(t, do(h, request("POST", "/m2m/notes", "")), 405, "method_not_allowed")
}

func TestNothingIsCached(t *testing.T) {
	threat.Covers(t, 24)
	h := newAPI(api.Options{})
	for _, r := range []*http.Request{
		request("GET", "/notes", ""), request("GET", "/echo", ""), request("GET", "/m2m/notes", ""),
		request("HEAD", "/ticks", ""), request("POST", "/notes", "{"), request("GET", "/notes", "", as("made-up")),
	} {
		if got := do(h, r).Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s %s: Cache-Control = %q", r.Method, r.URL, got)
		}
	}
}

func TestNewWithoutVerifyPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an API that verifies nothing came up")
		}
	}()
	api.New(api.Options{TickInterval: time.Second})
}
