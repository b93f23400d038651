package lies

import (
	"encoding/json"
	"time"

	"keyway/internal/demo/idp"
)

// claim is a lie in an ID token that is signed as it should be.
func claim(id, says string, lie func(t *idp.JWT)) Lie {
	return Lie{
		ID: "id-token-" + id, Says: says, Must: "refused, and neither UserInfo nor the API is called", Kind: SignIn,
		Want: Want{Refused: refused, Never: afterToken}, Threats: []int{5},
		Tell: func(Stage) *idp.Hooks { return &idp.Hooks{IDToken: lie} },
	}
}

// oddClaim is an ID token that is unusual, and good.
func oddClaim(id, says string, lie func(t *idp.JWT)) Lie {
	l := claim(id, says, lie)
	l.Must, l.Want = "accepted", Want{}
	return l
}

func set(name string, value any) func(*idp.JWT) {
	return func(t *idp.JWT) { t.Claims[name] = value }
}

func drop(name string) func(*idp.JWT) {
	return func(t *idp.JWT) { delete(t.Claims, name) }
}

// at sets a claim to a time that far from now.
func at(name string, from time.Duration) func(*idp.JWT) {
	return func(t *idp.JWT) { t.Claims[name] = time.Now().Add(from).Unix() }
}

func claims() []Lie {
	list := []Lie{
		claim("iss-wrong", "Names another issuer in the ID token.", set("iss", "https://other.example")),
		claim("iss-slash", "Names its issuer with a slash at the end.", func(t *idp.JWT) { t.Claims["iss"] = t.Claims["iss"].(string) + "/" }),
		claim("iss-not-text", "Has a list for iss.", func(t *idp.JWT) { t.Claims["iss"] = []any{t.Claims["iss"]} }),
		claim("sub-empty", "Has an empty sub.", set("sub", "")),
		claim("sub-number", "Has a number for sub.", set("sub", 1815)),
		claim("sub-long", "Has a sub of 256 characters.", set("sub", string(make256('a')))),
		claim("aud-wrong", "Issues the ID token to another client.", set("aud", "another-client")),
		claim("aud-empty", "Has an empty list for aud.", set("aud", []string{})),
		claim("aud-others", "Issues it to two others.", set("aud", []string{"another-client", "a-third"})),
		claim("aud-extra-without-azp", "Issues it to us and to somebody else, without azp.", func(t *idp.JWT) { t.Claims["aud"] = []string{t.ClientID, "another-client"} }),
		claim("aud-extra-azp-other", "Issues it to us and to somebody else, who is the azp.", func(t *idp.JWT) {
			t.Claims["aud"], t.Claims["azp"] = []string{t.ClientID, "another-client"}, "another-client"
		}),
		claim("azp-wrong", "Names another client as azp.", set("azp", "another-client")),
		claim("exp-past", "Issues an ID token that expired two minutes ago.", func(t *idp.JWT) {
			t.Claims["iat"], t.Claims["exp"] = time.Now().Add(-4*time.Minute).Unix(), time.Now().Add(-2*time.Minute).Unix()
		}),
		claim("exp-before-iat", "Issues an ID token that ends before it begins.", at("exp", -30*time.Second)),
		claim("exp-huge", "Has 1e300 for exp.", set("exp", json.Number("1e300"))),
		claim("exp-text", "Has a text for exp.", set("exp", "tomorrow")),
		claim("iat-future", "Has a clock that is 75 s fast.", func(t *idp.JWT) {
			t.Claims["iat"], t.Claims["exp"] = time.Now().Add(75*time.Second).Unix(), time.Now().Add(10*time.Minute).Unix()
		}),
		claim("iat-old", "Issues an ID token that is a day old and lives for a year.", func(t *idp.JWT) {
			t.Claims["iat"], t.Claims["exp"] = time.Now().Add(-24*time.Hour).Unix(), time.Now().Add(365*24*time.Hour).Unix()
		}),
		claim("nbf-future", "Issues an ID token that is good from five minutes on.", at("nbf", 5*time.Minute)),
		claim("nonce-wrong", "Sends another sign-in's nonce.", set("nonce", "not-the-nonce-that-was-sent")),
		claim("nonce-empty", "Sends an empty nonce.", set("nonce", "")),
		claim("at-hash-wrong", "Sends the hash of another access token.", set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")),
		claim("typ-access-token", "Sends an ID token that says it is an access token.", func(t *idp.JWT) { t.Header["typ"] = "at+jwt" }),
		claim("typ-logout-token", "Sends an ID token that says it is a logout token.", func(t *idp.JWT) { t.Header["typ"] = "logout+jwt" }),

		oddClaim("aud-list-of-one", "Has a list with our client id alone for aud.", func(t *idp.JWT) { t.Claims["aud"] = []string{t.ClientID} }),
		oddClaim("aud-extra-azp-ours", "Issues it to us and to somebody else, with us as azp.", func(t *idp.JWT) {
			t.Claims["aud"], t.Claims["azp"] = []string{t.ClientID, "another-client"}, t.ClientID
		}),
		oddClaim("azp-ours", "Names us as azp, where nothing asks for it.", func(t *idp.JWT) { t.Claims["azp"] = t.ClientID }),
		oddClaim("iat-30s-ahead", "Has a clock that is 30 s fast.", at("iat", 30*time.Second)),
		oddClaim("at-hash-missing", "Leaves out at_hash.", drop("at_hash")),
		oddClaim("typ-missing", "Leaves out typ.", func(t *idp.JWT) { t.Header["typ"] = nil }),
		oddClaim("extra-claims", "Adds claims that nobody knows.", set("https://claims.example/x", map[string]any{"deep": []any{1, nil, "x"}})),
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "nonce"} {
		list = append(list, claim(name+"-missing", "Leaves out "+name+".", drop(name)))
	}
	return list
}

func make256(c byte) []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = c
	}
	return b
}
