package lies

import (
	"net/http"
	"strings"

	"keyway/internal/demo/idp"
)

// metadata is a lie in the discovery document, told from the start.
func metadata(id, says string, want Want, change func(doc map[string]any)) Lie {
	return Lie{
		ID: "discovery-" + id, Says: says, Must: "no flow starts", Kind: Start, Want: want, Threats: []int{9},
		Tell: func(Stage) *idp.Hooks { return &idp.Hooks{Discovery: change} },
	}
}

// discoveryAnswer answers for the discovery endpoint.
func discoveryAnswer(answer http.HandlerFunc) func(Stage) *idp.Hooks {
	return func(Stage) *idp.Hooks {
		return &idp.Hooks{Before: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/.well-known/") {
				return false
			}
			answer(w, r)
			return true
		}}
	}
}

func discovery() []Lie {
	// What is not there may come; what is wrong is for the operator to see at once.
	noLogin := Want{Refused: unavailable, AtLogin: true, Never: beforeLogin}
	noStart := Want{NoStart: true, Never: beforeLogin}
	list := []Lie{
		{ID: "discovery-honest", Says: "Publishes its metadata as it is.", Must: "the endpoints that it names are used", Kind: Start, Tell: honest},
		metadata("issuer-mismatch", "Names another issuer in its discovery document.", noStart,
			func(doc map[string]any) { doc["issuer"] = "https://attacker.example" }),
		metadata("issuer-slash", "Names its issuer with a slash at the end.", noStart,
			func(doc map[string]any) { doc["issuer"] = doc["issuer"].(string) + "/" }),
		metadata("issuer-missing", "Names no issuer.", noStart, func(doc map[string]any) { delete(doc, "issuer") }),
		metadata("jwks-uri-user", "Puts a user and a password into jwks_uri.", noStart,
			func(doc map[string]any) {
				doc["jwks_uri"] = strings.Replace(doc["jwks_uri"].(string), "://", "://user:password@", 1)
			}),
		metadata("endpoint-scheme", "Has a token endpoint that is neither http nor https.", noStart,
			func(doc map[string]any) { doc["token_endpoint"] = "ftp://127.0.0.1/token" }),
		metadata("endpoint-fragment", "Has an authorization endpoint with a fragment.", noStart,
			func(doc map[string]any) {
				doc["authorization_endpoint"] = doc["authorization_endpoint"].(string) + "#x"
			}),
		metadata("endpoint-relative", "Has a token endpoint that is a path.", noStart,
			func(doc map[string]any) { doc["token_endpoint"] = "/token" }),
		metadata("endpoint-type", "Has a number for a token endpoint.", noStart,
			func(doc map[string]any) { doc["token_endpoint"] = 7 }),
		metadata("par-required-without-endpoint", "Demands pushed requests and names no endpoint for them.", noStart,
			func(doc map[string]any) {
				doc["require_pushed_authorization_requests"] = true
				delete(doc, "pushed_authorization_request_endpoint")
			}),
		{ID: "discovery-signs-with-none", Says: "Says that it signs ID tokens with none and HS256 only.", Must: "nobody is signed in", Kind: Start,
			Want: Want{Refused: useless, Never: beforeToken}, Threats: []int{6},
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{Discovery: func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = []string{"none", "HS256"} }}
			}},
		{ID: "discovery-no-iss-promise", Says: "Does not promise the iss parameter of RFC 9207, and does not send it.", Must: "accepted", Kind: Start,
			Tell: func(Stage) *idp.Hooks {
				return &idp.Hooks{
					Discovery:     func(doc map[string]any) { delete(doc, "authorization_response_iss_parameter_supported") },
					Authorization: without("iss"),
				}
			}},
		{ID: "discovery-redirect", Says: "Answers for its discovery document with a redirect to another origin.", Must: "not followed, no flow starts", Kind: Start,
			Want: noStart, Threats: []int{9},
			Tell: discoveryAnswer(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:9/.well-known/openid-configuration", http.StatusFound)
			})},
		{ID: "discovery-html", Says: "Answers for its discovery document with a page.", Must: "no flow starts", Kind: Start, Want: noLogin, Threats: []int{9},
			Tell: discoveryAnswer(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = w.Write([]byte("<html>maintenance</html>"))
			})},
		{ID: "discovery-500", Says: "Has no discovery document now.", Must: "no flow starts, and one may later", Kind: Start, Want: noLogin, Threats: []int{9},
			Tell: discoveryAnswer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })},
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri"} {
		list = append(list, metadata("no-"+strings.ReplaceAll(name, "_", "-"), "Names no "+name+".", noStart, func(doc map[string]any) { delete(doc, name) }))
	}
	return list
}
