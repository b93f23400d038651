package lies

import (
	"net/http"

	"keyway/internal/demo/idp"
)

// refreshed is a lie about a refresh.
func refreshed(id, says, must string, want Want, h func(s Stage) *idp.Hooks) Lie {
	return Lie{ID: "refresh-" + id, Says: says, Must: must, Kind: Refresh, Want: want, Tell: h}
}

// refreshAnswer changes the answer of the token endpoint.
func refreshAnswer(lie func(a *idp.Answer)) func(Stage) *idp.Hooks {
	return func(Stage) *idp.Hooks {
		return &idp.Hooks{Token: func(r *http.Request, a *idp.Answer) {
			if isGrant(r, idp.GrantRefresh) {
				lie(a)
			}
		}}
	}
}

func refreshToken(lie func(t *idp.JWT)) func(Stage) *idp.Hooks {
	return func(Stage) *idp.Hooks { return &idp.Hooks{IDToken: lie} }
}

func refreshes() []Lie {
	// The old refresh token may be used up by then, and the new ones can't be
	// trusted: the session stays what it was, and nobody is let in by it.
	no := Want{Refused: []string{"idp_unavailable", "idp_failed", "session_ended"}, Never: afterRefresh}
	must := "the new tokens are not used; nobody becomes somebody else"
	ends := Want{Refused: []string{"session_ended"}, Ended: true, Never: afterRefresh}
	stays := Want{Refused: unavailable, Never: afterRefresh}
	return []Lie{
		refreshed("honest", "Refreshes, and replaces the refresh token.", "accepted", Want{}, honest),
		refreshed("not-replaced", "Refreshes, and sends no new refresh token.", "accepted; the old one stays", Want{}, refreshAnswer(edit("refresh_token", nil))),
		refreshed("no-id-token", "Refreshes, and sends no ID token.", "accepted", Want{}, refreshAnswer(edit("id_token", nil))),
		refreshed("with-nonce", "Puts a nonce into the new ID token.", "accepted", Want{}, refreshToken(set("nonce", "of-the-first-sign-in"))),
		refreshed("other-sub", "Refreshes somebody else's tokens.", must, no, refreshToken(set("sub", "u-grace-1906"))),
		refreshed("other-iss", "Names another issuer in the new ID token.", must, no, refreshToken(set("iss", "https://other.example"))),
		refreshed("other-aud", "Issues the new ID token to another client.", must, no, refreshToken(set("aud", "another-client"))),
		refreshed("expired", "Sends a new ID token that is over.", must, no, refreshToken(func(t *idp.JWT) { t.Claims["iat"], t.Claims["exp"] = 1000, 2000 })),
		refreshed("unsigned", "Does not sign the new ID token: alg none.", must, no, func(Stage) *idp.Hooks {
			return &idp.Hooks{SerializedIDToken: func(token string) string {
				o := open(token)
				o.header["alg"] = "none"
				return o.unsigned()
			}}
		}),
		refreshed("wrong-key", "Signs the new ID token with another key.", must, no, func(Stage) *idp.Hooks {
			return &idp.Hooks{SerializedIDToken: func(token string) string { return open(token).ecdsa(newECKey()) }}
		}),
		refreshed("invalid-grant", "Says that the grant is over.", "the session ends", ends, refreshAnswer(func(a *idp.Answer) { jsonAnswer(a, 400, `{"error":"invalid_grant"}`) })),
		refreshed("500", "Answers with 500.", "the session stays", stays, refreshAnswer(func(a *idp.Answer) { jsonAnswer(a, 500, `{}`) })),
		refreshed("429", "Answers with 429.", "the session stays", stays, refreshAnswer(func(a *idp.Answer) { jsonAnswer(a, 429, `{}`) })),
		refreshed("invalid-client", "Refuses our credential.", "the session stays", stays, refreshAnswer(func(a *idp.Answer) { jsonAnswer(a, 401, `{"error":"invalid_client"}`) })),
		refreshed("html", "Answers with a page.", "the session stays", stays, refreshAnswer(func(a *idp.Answer) { a.Body = []byte("<html></html>") })),
		refreshed("redirect", "Answers with a redirect.", "not followed; the session stays", stays, refreshAnswer(func(a *idp.Answer) {
			a.Status = http.StatusTemporaryRedirect
			a.Header.Set("Location", "http://127.0.0.1:9/token")
		})),
	}
}
