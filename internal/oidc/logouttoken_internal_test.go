package oidc

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is accepted is so by another reader's account, too.
func FuzzLogoutToken(f *testing.F) {
	const issuer, client = "https://idp.example", "keyway"
	now := time.Unix(1_700_000_000, 0)
	const event = `"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`
	f.Add([]byte(`{"iss":"https://idp.example","aud":"keyway","iat":1700000000,"exp":1700000120,"jti":"a","sub":"ada",` + event + `}`))
	f.Add([]byte(`{"iss":"https://idp.example","aud":["keyway","b"],"iat":1700000000.5,"exp":1700000120,"jti":"a","sid":"s",` + event + `}`))
	f.Add([]byte(`{"iss":"https://idp.example","aud":"keyway","iat":1700000000,"exp":1700000120,"jti":"a","sub":"ada","nonce":null,` + event + `}`))
	f.Add([]byte(`{"iss":"https://idp.example","aud":"keyway","iat":1700000000,"exp":1700000120,"jti":"a","sub":"ada","events":[]}`))
	f.Add([]byte(`{"iss":"https://idp.example","iss":"x","jti":"a","jti":"b"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := parseLogoutClaims(payload, issuer, client, now)
		if err != nil {
			if text := err.Error(); len(text) > 500 || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("the error is not fit for a log: %q", text)
			}
			return
		}
		var c map[string]any
		if json.Unmarshal(payload, &c) != nil {
			t.Fatalf("accepted what is no JSON: %q", payload)
		}
		aud, _ := c["aud"].([]any)
		events, _ := c["events"].(map[string]any)
		_, event := events[logoutEvent].(map[string]any)
		_, nonce := c["nonce"]
		sub, _ := c["sub"].(string)
		sid, _ := c["sid"].(string)
		if c["iss"] != issuer || c["aud"] != client && !slices.Contains(aud, any(client)) || !event || nonce || c["jti"] != got.ID || got.ID == "" {
			t.Errorf("accepted %q", payload)
		}
		if got.Subject != sub || got.SessionID != sid || sub+sid == "" || got.Issuer != issuer {
			t.Errorf("%q names %q and %q", payload, got.Subject, got.SessionID)
		}
		if got.IssuedAt.Before(now.Add(-maxLogoutAge)) || got.IssuedAt.After(now.Add(Skew)) || !got.Expiry.Add(Skew).After(now) {
			t.Errorf("accepted at another time: %q", payload)
		}
		// A use is remembered for as long as it would be accepted, and no longer than that.
		if until := got.acceptedUntil(); until.Before(now) || until.Sub(now) > maxLogoutAge+Skew+replicaSkew {
			t.Errorf("remembered until %s", until)
		}
	})
}

func TestLogoutTokensAreClaimedApart(t *testing.T) {
	names := map[string]bool{}
	for _, token := range []LogoutToken{
		{Issuer: "https://a.example", ID: "x"}, {Issuer: "https://a.example", ID: "y"},
		{Issuer: "https://a.examplex", ID: ""}, {Issuer: "https://a.exampl", ID: "ex"}, {Issuer: "https://b.example", ID: "x"},
	} {
		name := token.claimName()
		if names[name] || len(name) > 60 || token.ID != "" && strings.Contains(strings.TrimPrefix(name, "logout."), token.Issuer) {
			t.Errorf("%+v is claimed as %q", token, name)
		}
		names[name] = true
	}
}
