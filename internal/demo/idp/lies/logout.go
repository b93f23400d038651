package lies

import (
	"net/url"
	"time"

	"keyway/internal/demo/idp"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

func logouts() []Lie {
	over := Want{Ended: true}
	return []Lie{
		{ID: "logout", Says: "Signs the user out, tells the client by the back channel too, and sends the browser home.", Must: "signed out, home without a fault", Kind: Logout, Want: over, Tell: honest},
		{ID: "logout-no-state", Says: "Sends the browser home without a state.", Must: "signed out, home without a fault", Kind: Logout, Want: over, Threats: []int{51},
			Tell: func(Stage) *idp.Hooks { return &idp.Hooks{Goodbye: without("state")} }},
		{ID: "logout-other-state", Says: "Sends the browser home with a state that nobody sent.", Must: "signed out, home without a fault", Kind: Logout, Want: over, Threats: []int{51},
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{Goodbye: func(v url.Values) { v.Set("state", "another-state") }}
			}},
		{ID: "logout-no-endpoint", Says: "Has no end_session_endpoint.", Must: "signed out here", Kind: Logout, Want: over,
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{Discovery: func(doc map[string]any) { delete(doc, "end_session_endpoint") }}
			}},
	}
}

// told is a lie in a logout token that is signed as it should be.
func told(id, says string, lie func(t *idp.JWT)) Lie {
	return Lie{
		ID: "backchannel-" + id, Says: says, Must: "400, and the session stays", Kind: Backchannel, Want: Want{Refused: []string{"invalid_logout_token"}}, Threats: []int{52},
		Tell: func(Stage) *idp.Hooks { return &idp.Hooks{LogoutToken: lie} },
	}
}

// toldOddly is a logout token that is unusual, and good.
func toldOddly(id, says string, lie func(t *idp.JWT)) Lie {
	l := told(id, says, lie)
	l.Must, l.Want, l.Threats = "200, and the session has ended", Want{Ended: true}, []int{52, 53}
	return l
}

func toldSigned(id, says string, lie func(s Stage, o opened) string) Lie {
	l := told(id, says, nil)
	l.Tell = func(s Stage) *idp.Hooks {
		return &idp.Hooks{SerializedLogoutToken: func(token string) string { return lie(s, open(token)) }}
	}
	return l
}

// with is another code of refusal.
func (l Lie) with(code string) Lie {
	l.Want.Refused = []string{code}
	return l
}

func event(value any) func(*idp.JWT) { return set("events", map[string]any{logoutEvent: value}) }

func backchannel() []Lie {
	list := []Lie{
		toldOddly("honest", "Tells by sub and sid who has signed out.", func(*idp.JWT) {}),
		toldOddly("sub-only", "Tells by sub alone.", drop("sid")),
		toldOddly("sid-only", "Tells by sid alone.", drop("sub")),
		toldOddly("typ-jwt", "Calls the logout token a JWT, as was usual.", func(t *idp.JWT) { t.Header["typ"] = "JWT" }),
		toldOddly("typ-missing", "Leaves out typ.", func(t *idp.JWT) { t.Header["typ"] = nil }),
		toldOddly("aud-list", "Issues the logout token to us and to another client.", func(t *idp.JWT) { t.Claims["aud"] = []string{"another-client", t.ClientID} }),
		toldOddly("event-content", "Puts something into the event, which is to be ignored.", event(map[string]any{"x": 1})),

		toldSigned("none", "Does not sign the logout token: alg none.", func(_ Stage, o opened) string {
			o.header["alg"] = "none"
			return o.unsigned()
		}),
		toldSigned("wrong-alg", "Signs the logout token by HS256 with the client secret.", func(s Stage, o opened) string {
			o.header["alg"], o.header["kid"] = "HS256", nil
			return o.hmac([]byte(s.ClientSecret))
		}).aboutSecret(),
		toldSigned("wrong-key", "Signs the logout token with another key.", func(_ Stage, o opened) string { return o.ecdsa(newECKey()) }),
		toldSigned("garbage", "Sends something that is no token.", func(Stage, opened) string { return "not-a-token" }),
		toldSigned("empty", "Sends an empty logout token.", func(Stage, opened) string { return "" }).with("bad_request"),
		told("iss-wrong", "Names another issuer in the logout token.", set("iss", "https://other.example")),
		told("aud-wrong", "Issues the logout token to another client.", set("aud", "another-client")),
		told("events-missing", "Leaves out events.", drop("events")),
		told("events-wrong", "Tells of another event.", set("events", map[string]any{"http://schemas.openid.net/event/another": map[string]any{}})),
		told("events-list", "Has a list for events.", set("events", []string{logoutEvent})),
		told("event-text", "Has a text for the event.", event("yes")),
		told("event-null", "Has null for the event.", event(nil)),
		told("nonce", "Puts a nonce into the logout token.", set("nonce", "x")),
		told("nonce-empty", "Puts an empty nonce into the logout token.", set("nonce", "")),
		told("nobody", "Names neither sub nor sid.", func(t *idp.JWT) { drop("sub")(t); drop("sid")(t) }),
		told("sub-empty", "Has an empty sub, and no sid.", func(t *idp.JWT) { t.Claims["sub"] = ""; drop("sid")(t) }),
		told("typ-access-token", "Calls the logout token an access token.", func(t *idp.JWT) { t.Header["typ"] = "at+jwt" }),
		told("expired", "Sends a logout token that is over.", func(t *idp.JWT) {
			at("iat", -5*time.Minute)(t)
			at("exp", -3*time.Minute)(t)
		}),
		told("old", "Sends a logout token of yesterday that is good for a year.", func(t *idp.JWT) {
			at("iat", -24*time.Hour)(t)
			at("exp", 365*24*time.Hour)(t)
		}),
		told("future", "Sends a logout token of tomorrow.", func(t *idp.JWT) {
			at("iat", 24*time.Hour)(t)
			at("exp", 25*time.Hour)(t)
		}),
		told("jti-empty", "Has an empty jti.", set("jti", "")),
		{ID: "backchannel-id-token", Says: "Sends the ID token of the session instead.", Must: "400, and the session stays", Kind: Backchannel,
			Want: Want{Refused: []string{"invalid_logout_token"}}, Threats: []int{52},
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{LogoutToken: func(t *idp.JWT) {
					t.Header["typ"] = "JWT"
					drop("events")(t)
					drop("jti")(t)
					set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")(t)
					set("auth_time", time.Now().Unix())(t)
				}}
			}},
		{ID: "backchannel-other-session", Says: "Tells of a session that nobody has here.", Must: "200, and the session stays", Kind: Backchannel, Threats: []int{52, 53},
			Tell: func(Stage) *idp.Hooks { return &idp.Hooks{LogoutToken: set("sid", "another-session")} }},
		{ID: "backchannel-other-sub", Says: "Tells of the session of this sid, under somebody else's sub.", Must: "200, and the session stays: both must fit", Kind: Backchannel, Threats: []int{52, 53},
			Tell: func(Stage) *idp.Hooks { return &idp.Hooks{LogoutToken: set("sub", "u-nobody-0000")} }},
		{ID: "backchannel-replayed", Says: "Sends the same logout token again, after the user has signed in anew.", Must: "400, and the new session stays", Kind: Backchannel, Repeat: true,
			Want: Want{Refused: []string{"invalid_logout_token"}}, Threats: []int{52},
			Tell: func(Stage) *idp.Hooks { return &idp.Hooks{LogoutToken: drop("sid")} }},
	}
	for _, name := range []string{"iss", "aud", "iat", "exp", "jti"} {
		list = append(list, told(name+"-missing", "Leaves out "+name+".", drop(name)))
	}
	return list
}
