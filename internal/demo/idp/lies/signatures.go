package lies

import (
	"net/http"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"keyway/internal/demo/idp"
)

// signature is a lie about how an ID token is signed. Every claim in it is right.
func signature(id, says string, lie func(s Stage, o opened) string) Lie {
	return Lie{
		ID: "signature-" + id, Says: says, Must: "refused, and neither UserInfo nor the API is called", Kind: SignIn,
		Want: Want{Refused: refused, Never: afterToken}, Threats: []int{5, 6},
		Tell: func(s Stage) *idp.Hooks {
			return &idp.Hooks{SerializedIDToken: func(token string) string { return lie(s, open(token)) }}
		},
	}
}

// header changes the header before an honest signature is made over it.
func header(id, says string, lie func(s Stage, h map[string]any)) Lie {
	l := signature(id, says, nil)
	l.Tell = func(s Stage) *idp.Hooks {
		return &idp.Hooks{IDToken: func(t *idp.JWT) { lie(s, t.Header) }}
	}
	return l
}

func signatures() []Lie {
	return []Lie{
		signature("none", "Does not sign the ID token: alg none.", func(_ Stage, o opened) string {
			o.header["alg"] = "none"
			return o.unsigned()
		}),
		signature("none-capitals", "Does not sign the ID token: alg nOnE.", func(_ Stage, o opened) string {
			o.header["alg"] = "nOnE"
			return o.unsigned()
		}),
		signature("left-out", "Leaves the signature out and keeps alg.", func(_ Stage, o opened) string { return o.unsigned() }),
		signature("hs256-public-key", "Signs by HS256 with its public key, in PEM, as the secret.", func(s Stage, o opened) string {
			o.header["alg"] = "HS256"
			return o.hmac(publicPEM(s.Provider.PublicKeys().Keys[0].Key))
		}),
		signature("hs256-client-secret", "Signs by HS256 with the client secret, which it does not offer.", func(s Stage, o opened) string {
			o.header["alg"], o.header["kid"] = "HS256", nil
			return o.hmac([]byte(s.ClientSecret))
		}).aboutSecret(),
		signature("hs256-empty-secret", "Signs by HS256 with nothing as the secret.", func(_ Stage, o opened) string {
			o.header["alg"] = "HS256"
			return o.hmac(nil)
		}),
		signature("wrong-key", "Signs with another key and names its own.", func(_ Stage, o opened) string { return o.ecdsa(newECKey()) }),
		signature("bad-bytes", "Changes one bit of the signature.", func(_ Stage, o opened) string {
			first := "A"
			if strings.HasPrefix(o.sig, "A") {
				first = "B"
			}
			o.sig = first + o.sig[1:]
			return o.withSignature()
		}),
		signature("zero", "Signs with zeros.", func(_ Stage, o opened) string {
			o.sig = strings.Repeat("A", 86)
			return o.withSignature()
		}),
		signature("payload-changed", "Changes a claim after signing.", func(_ Stage, o opened) string {
			o.payload = o.payload[:len(o.payload)-2] + "x" + o.payload[len(o.payload)-1:]
			return o.withSignature()
		}),
		signature("encrypted", "Encrypts the ID token, which nobody asked for.", func(_ Stage, o opened) string { return encrypted(o.withSignature()) }),
		signature("two-parts", "Sends an ID token of two parts.", func(_ Stage, o opened) string { return o.input() }),
		signature("own-jwk", "Signs with a key that the token brings along (jwk).", func(_ Stage, o opened) string {
			key := newECKey()
			o.header["jwk"] = jwk(key.Public(), "", "ES256")
			o.header["kid"] = nil
			return o.ecdsa(key)
		}),
		header("jku", "Names another place for its keys (jku).", func(_ Stage, h map[string]any) { h["jku"] = "https://attacker.example/jwks" }),
		header("x5u", "Names a certificate elsewhere (x5u).", func(_ Stage, h map[string]any) { h["x5u"] = "https://attacker.example/cert" }),
		header("x5c", "Brings a certificate along (x5c).", func(_ Stage, h map[string]any) { h["x5c"] = []string{"MAA="} }),
		header("crit", "Demands an extension that nobody knows (crit).", func(_ Stage, h map[string]any) {
			h["crit"], h["http://example.com/ext"] = []string{"http://example.com/ext"}, true
		}),
		header("b64", "Demands an unencoded payload (b64).", func(_ Stage, h map[string]any) { h["crit"], h["b64"] = []string{"b64"}, false }),
		header("zip", "Says that the payload is compressed (zip).", func(_ Stage, h map[string]any) { h["zip"] = "DEF" }),
		signature("other-alg", "Signs by RS256 with a key that it publishes, and offers ES256 only.", nil).rs256(false, false),
		signature("rs256", "Offers RS256 and signs with it.", nil).rs256(true, false).accepted(),
		signature("rs256-bad", "Offers RS256 and signs with another key.", nil).rs256(true, true),
	}
}

func (l Lie) aboutSecret() Lie {
	l.Secret = true
	return l
}

// accepted turns a lie into an odd truth.
func (l Lie) accepted() Lie {
	l.Must, l.Want = "accepted", Want{}
	return l
}

// rs256 publishes an RSA key beside its own. offered: the metadata says so; bad:
// the signature is by another one.
func (l Lie) rs256(offered, bad bool) Lie {
	l.Tell = func(Stage) *idp.Hooks {
		key := newRSAKey()
		signs := key
		if bad {
			signs = newRSAKey()
		}
		h := &idp.Hooks{
			JWKS: func(set *jose.JSONWebKeySet) { set.Keys = append(set.Keys, jwk(key.Public(), "rsa", "RS256")) },
			SerializedIDToken: func(token string) string {
				o := open(token)
				o.header["alg"], o.header["kid"] = "RS256", "rsa"
				return o.rsa(signs)
			},
		}
		if offered {
			h.Discovery = func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = []string{"RS256"} }
		}
		return h
	}
	return l
}

// key is a lie, or an oddity, about which key it was.
func key(id, says, must string, want Want, threats []int, tell func(Stage) *idp.Hooks) Lie {
	return Lie{ID: "key-" + id, Says: says, Must: must, Kind: SignIn, Want: want, Threats: threats, Tell: tell}
}

func noKid(t *idp.JWT) { t.Header["kid"] = nil }

func rotate(s Stage) { _, err := s.Provider.RotateKey(); must(err) }

func keys() []Lie {
	no := Want{Refused: refused, Never: afterToken}
	known := func(l Lie) Lie { l.Known = true; return l }
	return []Lie{
		key("no-kid-one-key", "Publishes one key and names none in the token.", "accepted", Want{}, []int{7},
			func(Stage) *idp.Hooks { return &idp.Hooks{IDToken: noKid} }),
		key("no-kid-many-keys", "Publishes three keys that fit, and names none in the token.", "all are tried, or it is refused: both are right; here they are tried", Want{}, []int{7},
			func(s Stage) *idp.Hooks {
				rotate(s)
				rotate(s)
				return &idp.Hooks{IDToken: noKid}
			}),
		key("no-kid-too-many-keys", "Publishes twenty keys that fit, and names none in the token.", "refused: a token must not cost twenty checks", no, []int{7},
			func(Stage) *idp.Hooks {
				return &idp.Hooks{IDToken: noKid, JWKS: func(set *jose.JSONWebKeySet) {
					for range 20 {
						set.Keys = append(set.Keys, jwk(newECKey().Public(), "", "ES256"))
					}
				}}
			}),
		key("no-kids-at-all", "Publishes two keys without kid, and names none in the token.", "accepted", Want{}, []int{7},
			func(s Stage) *idp.Hooks {
				rotate(s)
				return &idp.Hooks{IDToken: noKid, JWKS: func(set *jose.JSONWebKeySet) {
					for i := range set.Keys {
						set.Keys[i].KeyID = ""
					}
				}}
			}),
		key("unknown-kid", "Names a key that it does not publish.", "refused, after one look at the keys", Want{Refused: refused, Never: afterToken, Fetches: 2}, []int{7, 8},
			func(Stage) *idp.Hooks {
				return &idp.Hooks{IDToken: func(t *idp.JWT) { t.Header["kid"] = "nobody-has-this" }}
			}),
		key("decoys", "Publishes, under the kid of its key, an encryption key, keys of other types and another that fits.", "the right one is found", Want{}, []int{7},
			func(Stage) *idp.Hooks {
				return &idp.Hooks{JWKS: func(set *jose.JSONWebKeySet) {
					kid := set.Keys[0].KeyID
					decoys := []jose.JSONWebKey{
						jwk(newRSAKey().Public(), kid, "RS256"), jwk(newECKey().Public(), kid, "ES256"),
						{Key: newECKey().Public(), KeyID: kid, Use: "enc", Algorithm: "ECDH-ES"},
						{Key: []byte("a secret that everybody knows, of 32 bytes"), KeyID: kid, Algorithm: "HS256", Use: "sig"},
					}
					set.Keys = slices.Concat(decoys, set.Keys)
				}}
			}),
		known(key("rotated-before-signing", "Makes a new key just before it signs, when its keys are known already.", "accepted after one fetch", Want{Fetches: 1}, []int{8},
			func(s Stage) *idp.Hooks { return &idp.Hooks{IDToken: func(*idp.JWT) { rotate(s) }} })),
		known(key("rotated", "Has made a new key since the last sign-in, and dropped the old one.", "accepted after one fetch", Want{Fetches: 1}, []int{8},
			func(s Stage) *idp.Hooks {
				rotate(s)
				s.Provider.DropOldKeys()
				return &idp.Hooks{}
			})),
		key("removed", "Signs with a key that it has removed.", "refused", no, []int{7},
			func(Stage) *idp.Hooks {
				return &idp.Hooks{JWKS: func(set *jose.JSONWebKeySet) {
					set.Keys = []jose.JSONWebKey{jwk(newECKey().Public(), "another", "ES256")}
				}}
			}),
		key("empty-set", "Publishes no keys.", "nobody is signed in; the fault is not the user's", Want{Refused: unavailable, Never: afterToken}, []int{8},
			func(Stage) *idp.Hooks { return &idp.Hooks{JWKS: func(set *jose.JSONWebKeySet) { set.Keys = nil }} }),
		key("jwks-500", "Answers for its keys with 500.", "nobody is signed in; the fault is not the user's", Want{Refused: unavailable, Never: afterToken}, []int{8},
			jwksAnswer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })),
		key("jwks-redirect", "Answers for its keys with a redirect to another origin.", "not followed", Want{Refused: unavailable, Never: afterToken}, []int{8},
			jwksAnswer(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:9/jwks", http.StatusFound)
			})),
		key("jwks-huge", "Answers for its keys with a megabyte.", "nobody is signed in", Want{Refused: unavailable, Never: afterToken}, []int{71},
			jwksAnswer(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"keys":[],"pad":"` + strings.Repeat("x", 1<<20) + `"}`))
			})),
	}
}

func jwksAnswer(answer http.HandlerFunc) func(Stage) *idp.Hooks {
	return func(Stage) *idp.Hooks {
		return &idp.Hooks{Before: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/jwks") {
				return false
			}
			answer(w, r)
			return true
		}}
	}
}
