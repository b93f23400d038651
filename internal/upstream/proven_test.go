package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/dpop"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/problem"
	"keyway/internal/secret"
	"keyway/internal/testkit/boundapi"
	"keyway/internal/threat"
)

func proofKeys(t testing.TB) *dpop.Keys {
	t.Helper()
	id, value, err := keystore.NewSigningKey("")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New("dpop-key", keyring.Version{ID: id, State: keyring.Active, Value: value})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := dpop.New(ring, nil)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// boundWorld is an API that wants proofs, under a path, and a proxy in front of it.
func boundWorld(t testing.TB) (api *boundapi.API, keys *dpop.Keys, send func(method, path, body string, change func(*Request, *http.Request)) *httptest.ResponseRecorder) {
	t.Helper()
	keys = proofKeys(t)
	api = boundapi.Start(t, func(token string) string {
		if token == "user-token" || token == "service-token" {
			return keys.Active()
		}
		return ""
	})
	p, err := New(Options{
		Services: []Service{{Name: "api", BaseURL: api.URL + "/base"}},
		Tokens:   boundSource{keys.Active()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return api, keys, func(method, path, body string, change func(*Request, *http.Request)) *httptest.ResponseRecorder {
		t.Helper()
		var r *http.Request
		if body == "" {
			r = httptest.NewRequest(method, path, nil)
		} else {
			r = httptest.NewRequest(method, path, strings.NewReader(body))
		}
		req := Request{
			Service: "api", Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Token: NewTokenPolicy(Passthrough, "", nil),
			AccessToken: secret.NewValue([]byte("user-token")), AccessKey: keys.Active(), Proofs: keys,
		}
		if change != nil {
			change(&req, r)
		}
		w := httptest.NewRecorder()
		if err := p.Forward(w, r, req); err != nil {
			w.Code = problem.CodeOf(err).Status()
			w.Body.WriteString(string(problem.CodeOf(err)))
			if strings.Contains(err.Error(), "user-token") {
				t.Errorf("the error shows the token: %v", err)
			}
		}
		return w
	}
}

type boundSource struct{ key string }

func (s boundSource) Token(context.Context, *TokenPolicy) (Token, error) {
	return Token{Value: secret.NewValue([]byte("service-token")), Key: s.key}, nil
}

func (s boundSource) Reject(*TokenPolicy, secret.Value) {}

func TestBoundTokens(t *testing.T) {
	api, keys, send := boundWorld(t)
	for name, path := range map[string]string{"plain": "/notes/1", "with a query": "/notes?a=1&b=%20", "escaped": "/a%2Fb/%C3%A9;v=1"} {
		t.Run(name, func(t *testing.T) {
			// What a client sends as a proof is for us at best, and goes no further.
			w := send("GET", path, "", func(_ *Request, r *http.Request) {
				r.Header["Dpop"] = []string{"eve's"}
				r.Header["DPOP"] = []string{"eve's"}
				r.Header.Set("Authorization", "DPoP eve")
			})
			calls := api.Calls()
			if w.Code != 200 || len(calls) != 1 || calls[0].JKT != keys.Active() {
				t.Errorf("answered %d %s; %+v", w.Code, w.Body, calls)
			}
		})
	}
	t.Run("a service token", func(t *testing.T) {
		w := send("POST", "/jobs", "do it", func(req *Request, _ *http.Request) { req.Token = NewTokenPolicy(ServiceToken, "api", nil) })
		if calls := api.Calls(); w.Code != 200 || len(calls) != 1 || calls[0].Token != "service-token" || calls[0].Body != "do it" {
			t.Errorf("answered %d %s; %+v", w.Code, w.Body, calls)
		}
	})
	t.Run("no key", func(t *testing.T) {
		threat.Covers(t, 64)
		for name, change := range map[string]func(*Request, *http.Request){
			"DPoP is off":   func(r *Request, _ *http.Request) { r.Proofs = nil },
			"another's key": func(r *Request, _ *http.Request) { r.AccessKey = "gone" },
			"a service's":   func(r *Request, _ *http.Request) { r.Token, r.Proofs = NewTokenPolicy(ServiceToken, "api", nil), nil },
		} {
			if w := send("GET", "/", "", change); w.Code != 502 || len(api.Calls()) != 0 {
				t.Errorf("%s: answered %d, want that nothing is sent", name, w.Code)
			}
		}
	})
	t.Run("a bearer token", func(t *testing.T) {
		w := send("GET", "/", "", func(r *Request, _ *http.Request) { r.AccessKey = "" })
		// The upstream refuses it, and that passes, as it always did.
		if calls := api.Calls(); w.Code != 401 || len(calls) != 1 || strings.Contains(calls[0].Why, "another") {
			t.Errorf("answered %d; %+v", w.Code, calls)
		}
	})
}

func TestUpstreamDemandsNonce(t *testing.T) {
	long := strings.Repeat("x", maxKept+1)
	for name, c := range map[string]struct {
		method, body string
		status       int
		sent         int
	}{
		"without a body":          {"GET", "", 200, 2},
		"with a body":             {"POST", `{"note":"one"}`, 200, 2},
		"with as much as is kept": {"PUT", long[1:], 200, 2},
		"with more":               {"PUT", long, 502, 1},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 21)
			api, _, send := boundWorld(t)
			api.Demand("n-1", false)
			w := send(c.method, "/notes", c.body, nil)
			calls := api.Calls()
			if w.Code != c.status || len(calls) != c.sent {
				t.Fatalf("answered %d %.100s after %d requests", w.Code, w.Body, len(calls))
			}
			if c.sent == 2 && (calls[1].Body != c.body || calls[1].Nonce != "n-1" || calls[1].ID == calls[0].ID) {
				t.Errorf("the second was %.200v", calls[1])
			}
			if w.Header().Get("Dpop-Nonce") != "" || c.status == 502 && w.Header().Get("Www-Authenticate") != "" {
				t.Errorf("the client was told %v", w.Header())
			}
			// Known from then on: one request, whatever its body.
			if w := send(c.method, "/other", c.body, nil); w.Code != 200 || len(api.Calls()) != 1 {
				t.Errorf("the next was answered %d", w.Code)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		threat.Covers(t, 21)
		api, _, send := boundWorld(t)
		api.Demand("n", true)
		w := send("GET", "/notes", "", nil)
		if calls := api.Calls(); w.Code != 502 || !strings.Contains(w.Body.String(), string(problem.UpstreamAuthFailed)) || len(calls) != 2 {
			t.Errorf("answered %d %s after %d requests", w.Code, w.Body, len(calls))
		}
	})
	t.Run("by a token that is not bound", func(t *testing.T) {
		threat.Covers(t, 21)
		api, _, send := boundWorld(t)
		api.Demand("n", false)
		if w := send("GET", "/notes", "", func(r *Request, _ *http.Request) { r.AccessKey = "" }); w.Code != 401 || len(api.Calls()) != 1 {
			t.Errorf("answered %d", w.Code)
		}
	})
}

// A WebSocket opens with a proof for its handshake, also when the first is refused for
// its nonce.
func TestWebSocketWithABoundToken(t *testing.T) {
	threat.Covers(t, 21)
	keys := proofKeys(t)
	accepted := make(chan seen, 10)
	base := listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			s, err := readSeen(r)
			if err != nil {
				return
			}
			accepted <- s
			if len(accepted) == 1 {
				_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\nDPoP-Nonce: n-1\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			_, _ = io.WriteString(c, switched+"hello")
			<-t.Context().Done()
			return
		}
	})
	f := newFront(t, Service{Name: "api", BaseURL: base}, func(_ *http.Request, req *Request) {
		req.Streaming, req.Token = true, NewTokenPolicy(Passthrough, "", nil)
		req.AccessToken, req.AccessKey, req.Proofs = secret.NewValue([]byte("user-token")), keys.Active(), keys
	})
	_, r, head := shake(t, f, "")
	if !strings.HasPrefix(head, "HTTP/1.1 101 ") || strings.Contains(strings.ToLower(head), "dpop") {
		t.Fatalf("answered %q", head)
	}
	expect(t, r, "hello")
	first, second := receive(t, accepted, "the first handshake"), receive(t, accepted, "the second")
	if a, b := first.field("DPoP"), second.field("DPoP"); len(a) != 1 || len(b) != 1 || a[0] == b[0] || second.field("Authorization")[0] != "DPoP user-token" {
		t.Errorf("proofs %q, %q", a, b)
	}
}
