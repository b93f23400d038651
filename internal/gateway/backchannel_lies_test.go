package gateway_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"keyway/internal/threat"
)

func TestBackchannelLogoutRefusesLies(t *testing.T) {
	l := startLogouts(t)
	u, sub, sid := l.signIn()
	good := func(change func(c map[string]any)) map[string]any {
		c := l.claims(sub, sid)
		change(c)
		return c
	}
	set := func(name string, value any) string {
		return form(l.sign(nil, good(func(c map[string]any) { c[name] = value })))
	}
	without := func(names ...string) string {
		return form(l.sign(nil, good(func(c map[string]any) {
			for _, name := range names {
				delete(c, name)
			}
		})))
	}
	typed := func(typ string) string {
		return form(l.sign(map[string]any{"typ": typ}, l.claims(sub, sid)))
	}
	now := time.Now().Unix()
	valid := l.sign(nil, l.claims(sub, sid))
	parts := strings.Split(valid, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"logout+jwt"}`)) + "." + parts[1] + "."
	hs := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"logout+jwt"}`)) + "." + parts[1]
	mac := hmac.New(sha256.New, []byte("the client secret of the tests"))
	mac.Write([]byte(hs))
	hs += "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	idToken, err := json.Marshal(l.last)
	must(t, err)
	var idClaims map[string]any
	must(t, json.Unmarshal(idToken, &idClaims))

	for name, request := range map[string]string{
		"alg none":                      form(unsigned),
		"alg none, no dots":             form(strings.TrimSuffix(unsigned, ".")),
		"alg HS256 by our secret":       form(hs),
		"alg another than the key's":    form(l.sign(map[string]any{"typ": "logout+jwt", "alg": "RS256"}, l.claims(sub, sid))),
		"signature changed":             form(valid[:len(valid)-6] + "AAAAAA"),
		"payload changed":               form(parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "." + parts[2]),
		"kid of nobody":                 form(l.sign(map[string]any{"typ": "logout+jwt", "kid": "nobody"}, l.claims(sub, sid))),
		"its own key":                   form(l.sign(map[string]any{"typ": "logout+jwt", "jwk": map[string]any{"kty": "oct", "k": "AAAA"}}, l.claims(sub, sid))),
		"crit":                          form(l.sign(map[string]any{"typ": "logout+jwt", "crit": []string{"x"}, "x": 1}, l.claims(sub, sid))),
		"iss wrong":                     set("iss", "https://evil.example"),
		"iss with a slash":              set("iss", l.idp.URL+"/"),
		"iss missing":                   without("iss"),
		"aud another's":                 set("aud", "somebody-else"),
		"aud list without us":           set("aud", []string{"a", "b"}),
		"aud missing":                   without("aud"),
		"iat missing":                   without("iat"),
		"iat old":                       set("iat", now-11*60),
		"iat in the future":             set("iat", now+90),
		"iat a string":                  set("iat", fmt.Sprint(now)),
		"exp missing":                   without("exp"),
		"exp past":                      form(l.sign(nil, good(func(c map[string]any) { c["iat"], c["exp"] = now-200, now-100 }))),
		"exp before iat":                form(l.sign(nil, good(func(c map[string]any) { c["iat"], c["exp"] = now, now-20 }))),
		"nbf in the future":             set("nbf", now+600),
		"jti missing":                   without("jti"),
		"jti empty":                     set("jti", ""),
		"jti a number":                  set("jti", 7),
		"nonce":                         set("nonce", "n"),
		"nonce null":                    set("nonce", nil),
		"no sub and no sid":             without("sub", "sid"),
		"sub empty":                     set("sub", ""),
		"sub null, no sid":              form(l.sign(nil, good(func(c map[string]any) { c["sub"] = nil; delete(c, "sid") }))),
		"sid empty":                     set("sid", ""),
		"sid a list":                    set("sid", []string{sid}),
		"events missing":                without("events"),
		"events without the member":     set("events", map[string]any{}),
		"events with another":           set("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}),
		"events in another case":        set("events", map[string]any{strings.ToUpper(logoutEvent): map[string]any{}}),
		"events an array":               set("events", []string{logoutEvent}),
		"events a string":               set("events", logoutEvent),
		"events null":                   set("events", nil),
		"the event a string":            set("events", map[string]any{logoutEvent: "yes"}),
		"the event null":                set("events", map[string]any{logoutEvent: nil}),
		"the event a list":              set("events", map[string]any{logoutEvent: []any{}}),
		"an ID token":                   form(l.sign(map[string]any{"typ": "JWT"}, idClaims)),
		"an ID token with typ":          form(l.sign(nil, idClaims)),
		"an access token":               form(l.sign(map[string]any{"typ": "at+jwt"}, l.claims(sub, sid))),
		"typ of a security event":       typed("secevent+jwt"),
		"typ of something":              typed("something"),
		"encrypted, by its shape":       form(valid + ".AAAA.AAAA"),
		"nonsense":                      form("a.b.c"),
		"empty":                         form(""),
		"no logout_token":               post(formType, "token="+valid),
		"empty body":                    post(formType, ""),
		"two logout tokens":             post(formType, "logout_token="+valid+"&logout_token="+valid),
		"two, one by an escaped name":   post(formType, "logout_token="+valid+"&logout%5Ftoken="+valid),
		"in the query":                  strings.Replace(post(formType, ""), "/auth/backchannel-logout", "/auth/backchannel-logout?logout_token="+valid, 1),
		"a semicolon":                   post(formType, "a=b;logout_token="+valid),
		"a bad escape":                  post(formType, "logout_token="+valid+"&x=%zz"),
		"JSON":                          post("application/json", `{"logout_token":"`+valid+`"}`),
		"the token as the body":         post("application/logout+jwt", valid),
		"multipart":                     post("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n"+valid+"\r\n--b--\r\n"),
		"no content type":               strings.Replace(post(formType, "logout_token="+valid), "Content-Type: "+formType+"\r\n", "", 1),
		"10 MB":                         post(formType, "logout_token="+valid+"&x="+strings.Repeat("a", 10<<20)),
		"10 MB of a token":              form(strings.Repeat("a", 10<<20)),
		"a token of 70 kB":              form(parts[0] + "." + strings.Repeat("A", 70<<10) + "." + parts[2]),
		"deep":                          set("x", json.RawMessage(strings.Repeat("[", 100)+strings.Repeat("]", 100))),
		"a longer signature":            form(l.sign(nil, good(func(c map[string]any) {})) + "x"),
		"a line break in the parameter": post(formType, "logout_token="+valid+"\n"),
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 52)
			got := l.raw(request)
			if got.status == 503 && (name == "kid of nobody" || name == "alg another than the key's") {
				// The keys were looked at a moment ago: it could be by one of after that.
				if got.code() != "idp_unavailable" || got.header.Get("Retry-After") == "" || !u.signedIn() {
					t.Errorf("%d %v %s, signed in %v", got.status, got.header, got.body, u.signedIn())
				}
				return
			}
			if got.status != 400 || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d, Cache-Control %q: %s", got.status, got.header.Get("Cache-Control"), got.body)
			}
			if code := got.code(); code != "invalid_logout_token" && code != "bad_request" {
				t.Errorf("code %s", code)
			}
			if strings.Contains(got.body, sub) || !u.signedIn() {
				t.Errorf("signed in: %v; %s", u.signedIn(), got.body)
			}
		})
	}
	t.Run("GET", func(t *testing.T) {
		threat.Covers(t, 52)
		got := l.raw("GET /auth/backchannel-logout?logout_token=" + valid + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if got.status != 405 || got.header.Get("Allow") != "POST" || got.header.Get("Cache-Control") != "no-store" || !u.signedIn() {
			t.Errorf("%d %v", got.status, got.header)
		}
	})
	for _, secret := range []string{valid, sub, sid} {
		if strings.Contains(l.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	// The token that all of them were made from was not used up by any.
	if got := l.raw(form(valid)); got.status != 200 || got.header.Get("Cache-Control") != "no-store" || got.body != "" || u.signedIn() {
		t.Errorf("the valid one: %d %v %s, signed in %v", got.status, got.header, got.body, u.signedIn())
	}
}
