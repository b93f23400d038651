package lies

import (
	"net/http"
	"strings"

	"keyway/internal/demo/idp"
)

// token is a lie of the token endpoint about a code.
func token(id, says, must string, want Want, threat int, lie func(a *idp.Answer)) Lie {
	l := Lie{ID: "token-" + id, Says: says, Must: must, Kind: SignIn, Want: want,
		Tell: func(Stage) *idp.Hooks {
			return &idp.Hooks{Token: func(r *http.Request, a *idp.Answer) {
				if isGrant(r, idp.GrantCode) {
					lie(a)
				}
			}}
		}}
	if threat != 0 {
		l.Threats = []int{threat}
	}
	return l
}

// edit changes one member of an answer; nil takes it out.
func edit(name string, value any) func(*idp.Answer) {
	return func(a *idp.Answer) {
		a.Edit(func(m map[string]any) {
			if m[name] = value; value == nil {
				delete(m, name)
			}
		})
	}
}

func tokens() []Lie {
	broken := Want{Refused: useless, Never: afterToken}
	away := Want{Refused: unavailable, Never: afterToken}
	no := Want{Refused: refused, Never: afterToken}
	must := "refused, and neither UserInfo nor the API is called"
	list := []Lie{
		token("10-mb", "Answers with ten megabytes.", "read up to a bound, refused", broken, 18, func(a *idp.Answer) {
			edit("pad", strings.Repeat("x", 10<<20))(a)
		}),
		token("truncated", "Answers with half of its JSON.", must, broken, 18, func(a *idp.Answer) { a.Body = a.Body[:len(a.Body)/2] }),
		token("cut-off", "Promises more than it sends, and hangs up.", must, away, 18, func(a *idp.Answer) { a.Header.Set("Content-Length", "100000") }),
		token("302", "Answers with a redirect.", "not followed, refused", broken, 18, func(a *idp.Answer) {
			a.Status = http.StatusFound
			a.Header.Set("Location", "http://127.0.0.1:9/token")
		}),
		token("307", "Answers with a redirect that would carry code and credentials on.", "not followed, refused", broken, 18, func(a *idp.Answer) {
			a.Status = http.StatusTemporaryRedirect
			a.Header.Set("Location", "http://127.0.0.1:9/token")
		}),
		token("html", "Answers with a page.", must, broken, 18, func(a *idp.Answer) { a.Body = []byte("<html>sign in</html>") }),
		token("list", "Answers with a list.", must, broken, 18, func(a *idp.Answer) { a.Body = []byte("[]") }),
		token("empty", "Answers with nothing.", must, broken, 18, func(a *idp.Answer) { a.Body = nil }),
		token("500", "Answers with 500.", "refused; the fault is not the user's", away, 18, func(a *idp.Answer) { jsonAnswer(a, 500, `{"error":"server_error"}`) }),
		token("429", "Answers with 429.", "refused; the fault is not the user's", away, 18, func(a *idp.Answer) { jsonAnswer(a, 429, `{}`) }),
		token("no-expires-in", "Does not say how long the access token lives.", "accepted", Want{}, 18, edit("expires_in", nil)),
		token("expires-in-text", "Says it in a text: \"300\".", "accepted", Want{}, 18, edit("expires_in", "300")),
		token("expires-in-nonsense", "Says that it lives for ever.", must, broken, 18, edit("expires_in", "for ever")),
		token("capitals", "Calls the token type BEARER.", "accepted", Want{}, 18, edit("token_type", "BEARER")),
		token("lower-case", "Calls the token type bearer.", "accepted", Want{}, 18, edit("token_type", "bearer")),
		token("mac", "Calls the token type mac.", must, broken, 18, edit("token_type", "mac")),
		token("no-type", "Names no token type.", must, broken, 18, edit("token_type", nil)),
		token("no-access-token", "Sends no access token.", must, broken, 18, edit("access_token", nil)),
		token("access-token-crlf", "Sends an access token with a line break and a header in it.", must, broken, 18, edit("access_token", "x\r\nX-User-Id: admin")),
		token("no-id-token", "Sends no ID token.", must, broken, 5, edit("id_token", nil)),
		token("no-refresh-token", "Sends no refresh token.", "accepted", Want{}, 0, edit("refresh_token", nil)),
		token("no-scope", "Does not say what was granted.", "accepted: what was asked for", Want{}, 19, edit("scope", nil)),
		token("empty-scope", "Says that nothing was granted.", "accepted, and UserInfo is not asked with a token that is not good for it",
			Want{Never: []string{idp.EndpointUserinfo}}, 19, edit("scope", "")),
		token("error-200", "Sends an error with status 200.", must, broken, 18, func(a *idp.Answer) { jsonAnswer(a, 200, `{"error":"invalid_grant"}`) }),
		token("400-without-error", "Answers with 400 and no error code.", must, broken, 18, func(a *idp.Answer) { jsonAnswer(a, 400, `{}`) }),
		token("invalid-client", "Refuses our credential.", "refused; the fault is the operator's, not the user's", broken, 0,
			func(a *idp.Answer) { jsonAnswer(a, 401, `{"error":"invalid_client"}`) }),
	}
	for _, l := range []Lie{
		token("dpop-capitals", "Calls the token type DPOP.", "accepted", Want{}, 21, edit("token_type", "DPOP")),
		token("dpop-lower-case", "Calls the token type dpop.", "accepted", Want{}, 21, edit("token_type", "dpop")),
		token("dpop-bearer", "Answers a proof of a key with a bearer token.", must, broken, 21, edit("token_type", "Bearer")),
	} {
		l.Bound = true
		list = append(list, l)
	}
	for _, code := range []string{"invalid_grant", "invalid_request", "unsupported_grant_type", "invalid_scope"} {
		list = append(list, token(strings.ReplaceAll(code, "_", "-"), "Refuses the code with "+code+".", must, no, 0,
			func(a *idp.Answer) { jsonAnswer(a, 400, `{"error":"`+code+`"}`) }))
	}
	return list
}

// info is a lie of UserInfo.
func info(id, says, must string, want Want, lie func(a *idp.Answer)) Lie {
	return Lie{ID: "userinfo-" + id, Says: says, Must: must, Kind: SignIn, Want: want, Threats: []int{5},
		Tell: func(Stage) *idp.Hooks {
			return &idp.Hooks{Userinfo: func(_ *http.Request, a *idp.Answer) { lie(a) }}
		}}
}

func userinfo() []Lie {
	no := Want{Refused: refused, Never: []string{API}}
	must := "refused, and the API is not called"
	return []Lie{
		info("other-sub", "Answers about somebody else.", must, no, edit("sub", "u-grace-1906")),
		info("no-sub", "Does not say whom it is about.", must, no, edit("sub", nil)),
		info("sub-number", "Has a number for sub.", must, no, edit("sub", 7)),
		info("sub-capitals", "Writes sub in capitals.", must, no, edit("sub", "U-ADA-1815")),
		info("jwt", "Answers with a JWT, which nobody asked for.", must, no, func(a *idp.Answer) {
			a.Header.Set("Content-Type", "application/jwt")
			a.Body = []byte("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1LWFkYS0xODE1In0.")
		}),
		info("html", "Answers with a page.", must, no, func(a *idp.Answer) {
			a.Header.Set("Content-Type", "text/html")
			a.Body = []byte("<html></html>")
		}),
		info("broken", "Answers with half of its JSON.", must, no, func(a *idp.Answer) { a.Body = a.Body[:len(a.Body)/2] }),
		info("500", "Answers with 500.", must, Want{Refused: unavailable, Never: []string{API}}, func(a *idp.Answer) { jsonAnswer(a, 500, `{}`) }),
		info("401", "Refuses the access token that it has just issued.", must, no, func(a *idp.Answer) { jsonAnswer(a, 401, `{"error":"invalid_token"}`) }),
		info("redirect", "Answers with a redirect.", "not followed, refused", Want{Refused: []string{"idp_failed", "login_failed"}, Never: []string{API}}, func(a *idp.Answer) {
			a.Status = http.StatusFound
			a.Header.Set("Location", "http://127.0.0.1:9/userinfo")
		}),
		{ID: "userinfo-none", Says: "Has no UserInfo endpoint.", Must: "accepted", Kind: Start,
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{Discovery: func(doc map[string]any) { delete(doc, "userinfo_endpoint") }}
			}},
	}
}
