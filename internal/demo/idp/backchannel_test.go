package idp_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"keyway/internal/demo/idp"
)

// listener is a relying party's backchannel_logout_uri. It passes on what is
// posted to it, and answers with the statuses in turn, then with 200.
func listener(t *testing.T, statuses ...int) (address string, posted <-chan url.Values) {
	t.Helper()
	got := make(chan url.Values, 10)
	answers := make(chan int, len(statuses))
	for _, s := range statuses {
		answers <- s
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.ParseForm() != nil {
			t.Errorf("want a form that is posted, found %s", r.Method)
		}
		got <- r.PostForm
		select {
		case status := <-answers:
			w.WriteHeader(status)
		default:
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/backchannel", got
}

func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}

// TestBackchannelLogout: each client of the browser's session is told, in the
// words of Back-Channel Logout 1.0, 2.4, and nobody else.
func TestBackchannelLogout(t *testing.T) {
	address, posted := listener(t)
	c := web()
	c.BackchannelLogoutURI, c.BackchannelLogoutSessionRequired = address, true
	other := web()
	other.ID, other.BackchannelLogoutURI = "other", address
	r := start(t, idp.Options{Clients: []idp.Client{c, other}})
	var doc map[string]any
	if err := json.Unmarshal(r.get(r.s.URL+"/.well-known/openid-configuration").Body, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["backchannel_logout_supported"] != true || doc["backchannel_logout_session_supported"] != true {
		t.Errorf("metadata: found %v", doc)
	}
	tokens := r.tokens(nil)
	_, id := r.claims(tokens.str("id_token"))
	if id["acr"] == nil || id["auth_time"] == nil {
		t.Errorf("want acr and auth_time, found %v", id)
	}
	r.endSession(url.Values{"id_token_hint": {tokens.str("id_token")}})

	form := next(t, "a logout token", posted)
	header, claims := r.claims(form.Get("logout_token"))
	if header["typ"] != "logout+jwt" {
		t.Errorf("typ: found %v", header["typ"])
	}
	for name, want := range map[string]any{"iss": r.s.URL, "aud": "web", "sub": "u-ada-1815", "sid": id["sid"]} {
		if claims[name] != want {
			t.Errorf("%s: want %v, found %v", name, want, claims[name])
		}
	}
	if events, _ := claims["events"].(map[string]any); events["http://schemas.openid.net/event/backchannel-logout"] == nil {
		t.Errorf("events: found %v", claims["events"])
	}
	if claims["jti"] == nil || claims["iat"] == nil || claims["exp"] == nil || claims["nonce"] != nil {
		t.Errorf("found %v", claims)
	}
	// Signing out again, and the client that never was part of it: silence.
	r.endSession(url.Values{"id_token_hint": {tokens.str("id_token")}})
	_ = r.s.Close() // waits for those under way
	if len(posted) != 0 {
		t.Errorf("told again: %v", <-posted)
	}
}

// TestBackchannelLogoutIsTriedTwice, and no more often.
func TestBackchannelLogoutIsTriedTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []int
		status  int
		posts   int
	}{
		"the second is taken": {[]int{503}, 200, 2},
		"neither is":          {[]int{500, 502, 200}, 502, 2},
		"refused":             {[]int{400}, 400, 1},
	} {
		t.Run(name, func(t *testing.T) {
			address, posted := listener(t, tt.answers...)
			c := web()
			c.BackchannelLogoutURI = address
			answered := make(chan int, 5)
			r := start(t, idp.Options{Clients: []idp.Client{c}, Hooks: &idp.Hooks{
				LogoutAnswered: func(_ string, status int, _ error) { answered <- status },
			}})
			r.endSession(url.Values{"id_token_hint": {r.tokens(nil).str("id_token")}})
			if status := next(t, "the answer", answered); status != tt.status {
				t.Errorf("status: want %d, found %d", tt.status, status)
			}
			if len(posted) != tt.posts {
				t.Errorf("posts: want %d, found %d", tt.posts, len(posted))
			}
			var first url.Values
			for range tt.posts {
				if form := <-posted; first == nil {
					first = form
				} else if form.Get("logout_token") != first.Get("logout_token") {
					t.Error("want the same token again")
				}
			}
		})
	}
}

// TestBackchannelLogoutLies: the hooks change what is sent, not whether.
func TestBackchannelLogoutLies(t *testing.T) {
	address, posted := listener(t)
	c := web()
	c.BackchannelLogoutURI = address
	r := start(t, idp.Options{Clients: []idp.Client{c}})
	r.s.SetHooks(&idp.Hooks{
		LogoutToken:           func(t *idp.JWT) { t.Claims["aud"] = "somebody else" },
		SerializedLogoutToken: func(token string) string { return token + "x" },
	})
	r.endSession(url.Values{"id_token_hint": {r.tokens(nil).str("id_token")}})
	token := next(t, "a logout token", posted).Get("logout_token")
	if token[len(token)-1] != 'x' {
		t.Error("want what the hook made of it")
	}
}
