package idp_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
)

// The record shows what a test has to know of a sign-in, and no secret of it.
func TestSeen(t *testing.T) {
	key := newClientKey(t, jose.ES256)
	c := web()
	c.Secrets, c.JWKS = nil, keySet(key)
	r := start(t, idp.Options{Clients: []idp.Client{c}})
	r.method, r.key = idp.AuthPrivateKeyJWT, key
	v, verifier := r.request(nil)
	back := r.signIn(r.push(v))
	a := r.redeem(back.Get("code"), verifier)
	r.refresh(a.str("refresh_token"))

	front := r.s.Seen(idp.EndpointAuthorize)
	if len(front) != 1 || !slices.Equal(slices.Sorted(maps.Keys(front[0].Query)), []string{"client_id", "request_uri"}) ||
		front[0].Status != http.StatusSeeOther || front[0].ClientID != "web" {
		t.Errorf("front channel: want client_id and request_uri alone, found %+v", front)
	}
	pushed := r.s.Seen(idp.EndpointPAR)
	if len(pushed) != 1 || pushed[0].Form.Get("state") != v.Get("state") || pushed[0].AuthMethod != idp.AuthPrivateKeyJWT ||
		pushed[0].AssertionClaims["aud"] != r.s.URL || pushed[0].AssertionHeader["kid"] != key.jwk.KeyID {
		t.Errorf("pushed: found %+v", pushed)
	}
	tokens := r.s.Seen(idp.EndpointToken)
	if len(tokens) != 2 || tokens[0].Form.Get("code_verifier") != r.s.Fingerprint(verifier) ||
		tokens[1].Form.Get("grant_type") != "refresh_token" {
		t.Errorf("token: found %+v", tokens)
	}
	if n := r.s.Stats().Of(idp.EndpointToken); n != 2 {
		t.Errorf("want 2 token requests counted, found %d", n)
	}
	everything := fmt.Sprintf("%+v", r.s.Seen())
	for _, leak := range []string{verifier, back.Get("code"), a.str("refresh_token"), a.str("access_token"), ":[demo]"} {
		if strings.Contains(everything, leak) {
			t.Error("the record holds a secret")
		}
	}
	r.s.ForgetSeen()
	if len(r.s.Seen()) != 0 || r.s.Stats().Of(idp.EndpointToken) != 2 {
		t.Error("ForgetSeen: want no records and the same counts")
	}
}

func TestSeenErrors(t *testing.T) {
	r := start(t, idp.Options{})
	r.refresh("made-up")
	r.send("/token", url.Values{"client_id": {"nobody"}, "client_secret": {"x"}})
	seen := r.s.Seen(idp.EndpointToken)
	if len(seen) != 2 || seen[0].Error != "invalid_grant" || seen[1].Error != "invalid_client" || seen[1].Status != 401 ||
		seen[1].ClientID != "nobody" {
		t.Errorf("found %+v", seen)
	}
	if failed := r.s.Stats().AuthFailed; failed[""] != 1 || len(failed) != 1 {
		t.Errorf("found %v", failed)
	}
}

// The record is bounded in number and in size, and keeps the newest.
func TestSeenIsBounded(t *testing.T) {
	r := start(t, idp.Options{MaxRecords: 3})
	long := strings.Repeat("x", 5000)
	for i := range 10 {
		q := url.Values{"n": {fmt.Sprint(i)}, "long": {long}}
		for j := range 200 {
			q.Set(fmt.Sprint("p", j), "v")
		}
		direct(r.s, "GET", "/jwks?"+url.Values{"n": q["n"]}.Encode(), "")
		direct(r.s, "POST", "/token", q.Encode())
	}
	seen := r.s.Seen()
	if len(seen) != 3 || seen[1].Query.Get("n") != "9" {
		t.Fatalf("want the newest 3, found %d", len(seen))
	}
	for _, s := range seen {
		n := 0
		for _, values := range s.Form {
			n += len(values)
			for _, v := range values {
				if len(v) > 512 {
					t.Error("a value is not cut")
				}
			}
		}
		if n > 64 {
			t.Errorf("%d parameters", n)
		}
	}
}
