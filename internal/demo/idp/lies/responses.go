package lies

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"keyway/internal/demo/idp"
)

// par is a lie of the PAR endpoint.
func par(id, says string, want Want, lie func(a *idp.Answer)) Lie {
	return Lie{
		ID: "par-" + id, Says: says, Must: "refused, and no plain request instead", Kind: SignIn, Want: want, Threats: []int{17},
		Tell: func(Stage) *idp.Hooks { return &idp.Hooks{PAR: func(_ *http.Request, a *idp.Answer) { lie(a) }} },
	}
}

func pushed() []Lie {
	away := Want{Refused: unavailable, AtLogin: true, Never: beforeLogin}
	broken := Want{Refused: useless, AtLogin: true, Never: beforeLogin}
	return []Lie{
		par("500", "Answers a pushed request with 500.", away, func(a *idp.Answer) { jsonAnswer(a, 500, `{}`) }),
		par("hang", "Does not answer a pushed request.", away, func(a *idp.Answer) { a.Delay = time.Hour }),
		par("too-many", "Answers a pushed request with 429.", away, func(a *idp.Answer) { jsonAnswer(a, 429, `{"error":"temporarily_unavailable"}`) }),
		par("redirect", "Answers a pushed request with a redirect.", broken, func(a *idp.Answer) {
			a.Status = http.StatusTemporaryRedirect
			a.Header.Set("Location", "http://127.0.0.1:9/par")
		}),
		par("refused", "Answers a pushed request with invalid_request.", broken, func(a *idp.Answer) { jsonAnswer(a, 400, `{"error":"invalid_request"}`) }),
		par("nothing", "Answers a pushed request without a request_uri.", broken, func(a *idp.Answer) { jsonAnswer(a, 201, `{"expires_in":60}`) }),
		par("html", "Answers a pushed request with a page.", broken, func(a *idp.Answer) {
			a.Body = []byte("<html></html>")
			a.Header.Set("Content-Type", "text/html")
		}),
		par("expired", "Forgets a pushed request before the browser comes with it.", Want{Stuck: true, Never: beforeToken},
			func(a *idp.Answer) {
				a.Edit(func(m map[string]any) { m["request_uri"] = m["request_uri"].(string) + "x" })
			}),
	}
}

// response is a lie in the parameters that the browser brings back.
func response(id, says, must string, want Want, threat int, lie func(url.Values)) Lie {
	l := Lie{ID: "response-" + id, Says: says, Must: must, Kind: SignIn, Want: want,
		Tell: func(Stage) *idp.Hooks { return &idp.Hooks{Authorization: lie} }}
	if threat != 0 {
		l.Threats = []int{threat}
	}
	return l
}

func without(name string) func(url.Values) { return func(v url.Values) { v.Del(name) } }

func setTo(name, value string) func(url.Values) { return func(v url.Values) { v.Set(name, value) } }

func twice(name string) func(url.Values) {
	return func(v url.Values) { v[name] = append(v[name], v[name]...) }
}

func responses() []Lie {
	no := Want{Refused: refused, Never: beforeToken}
	malformed := Want{Refused: []string{"bad_request"}, Never: beforeToken}
	must := "refused before the token endpoint is called"
	list := []Lie{
		{ID: "honest", Says: "Says the truth.", Must: "signed in, and the API gets the access token", Kind: SignIn, Threats: []int{1}, Tell: honest},
		response("iss-missing", "Leaves out the iss that it promises.", must, no, 3, without("iss")),
		response("iss-wrong", "Sends another provider's iss.", must, no, 3, setTo("iss", "https://other.example")),
		response("iss-slash", "Sends its iss with a slash at the end.", must, no, 3, func(v url.Values) { v.Set("iss", v.Get("iss")+"/") }),
		response("iss-empty", "Sends an empty iss.", must, no, 3, setTo("iss", "")),
		response("state-missing", "Leaves out state.", must, no, 2, without("state")),
		response("state-wrong", "Sends a state that it made up.", must, no, 2, setTo("state", "AAAAAAAAAAAAAAAAAAAAAAAA")),
		response("state-changed", "Changes one character in the middle of state.", must, no, 2, func(v url.Values) {
			s := []byte(v.Get("state"))
			if middle := len(s) / 2; s[middle] == 'A' {
				s[middle] = 'B'
			} else {
				s[middle] = 'A'
			}
			v.Set("state", string(s))
		}),
		response("code-missing", "Sends neither code nor error.", must, no, 0, without("code")),
		response("code-wrong", "Sends a code that it does not know.", "refused, nobody is signed in", Want{Refused: refused, Never: afterToken}, 0,
			setTo("code", "not-a-code-of-ours")),
		response("error-with-code", "Sends an error and a code.", must, Want{Refused: []string{"login_denied"}, Never: beforeToken}, 0, setTo("error", "access_denied")),
		{ID: "response-other-browser", Says: "Has another browser bring the answer.", Must: must, Kind: SignIn, Want: no, Threats: []int{2}, Elsewhere: true, Tell: honest},
		{ID: "response-repeated", Says: "Has the browser bring the same answer twice.", Must: "one token call; the first session lives", Kind: SignIn,
			Threats: []int{11}, Repeat: true, Tell: honest},
		{ID: "form-post", Says: "Answers by a form that the browser posts.", Must: "accepted", Kind: SignIn,
			Tell: func(Stage) *idp.Hooks { return &idp.Hooks{ResponseMode: "form_post"} }},
		{ID: "form-post-error", Says: "Refuses by a form that the browser posts.", Must: must, Kind: SignIn, Want: Want{Refused: []string{"login_denied"}, Never: beforeToken},
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{ResponseMode: "form_post", Authorization: func(v url.Values) { v.Del("code"); v.Set("error", "access_denied") }}
			}},
		{ID: "form-post-twice", Says: "Posts a form with two states.", Must: must, Kind: SignIn, Want: malformed, Threats: []int{4},
			Tell: func(Stage) *idp.Hooks { return &idp.Hooks{ResponseMode: "form_post", Authorization: twice("state")} }},
	}
	for _, name := range []string{"code", "state", "iss"} {
		list = append(list, response(name+"-twice", "Sends "+name+" twice.", must, malformed, 4, twice(name)))
	}
	return list
}

// refusals are the errors of an authorization endpoint: RFC 6749, 4.1.2.1,
// OpenID Connect Core, 3.1.2.6, RFC 9101, RFC 8707, RFC 9396, RFC 9470.
func refusals() []Lie {
	codes := map[string][]string{
		"access_denied": {"login_denied"}, "server_error": unavailable, "temporarily_unavailable": unavailable,
	}
	var list []Lie
	for _, code := range []string{
		"access_denied", "server_error", "temporarily_unavailable", "invalid_request", "unauthorized_client", "unsupported_response_type",
		"invalid_scope", "interaction_required", "login_required", "account_selection_required", "consent_required", "invalid_request_uri",
		"invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported", "invalid_target",
		"unmet_authentication_requirements", "an_error_of_its_own", "<script>alert(1)</script>",
	} {
		want := codes[code]
		if want == nil {
			want = refused
		}
		list = append(list, response("error-"+name(code), "Refuses with the error "+code+".", "refused, no token call",
			Want{Refused: want, Never: beforeToken}, 0, func(v url.Values) { v.Del("code"); v.Set("error", code) }))
	}
	return list
}

// name makes an ID of an error code.
func name(code string) string {
	words := strings.FieldsFunc(code, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	return strings.Join(words, "-")
}
