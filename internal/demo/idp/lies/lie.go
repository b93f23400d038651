package lies

import (
	"net/http"
	"slices"

	"keyway/internal/demo/idp"
)

// Stage is where a lie is told.
type Stage struct {
	Provider     *idp.Provider
	ClientID     string
	ClientSecret string // of the client, if it has one
}

// Kind is the part of a relying party's life in which a lie is told.
type Kind string

// The kinds.
const (
	// Start: from the first request on, before anything is known of the provider.
	Start Kind = "start"
	// SignIn: while one user signs in.
	SignIn Kind = "sign-in"
	// Refresh: once somebody is signed in, and the access token is over.
	Refresh Kind = "refresh"
	// Logout: when a user signs out at the relying party.
	Logout Kind = "logout"
	// Backchannel: when a user signs out at the provider, which tells the relying
	// party.
	Backchannel Kind = "back-channel logout"
)

// API stands in [Want.Never] for the resource server behind the relying party.
const API = "api"

// Want is what must happen.
type Want struct {
	// Refused is the code with which it is refused. Several: any of them, where the
	// specifications leave it open. None: it is accepted.
	Refused []string
	// AtLogin: it is refused before the browser is sent to the provider.
	AtLogin bool
	// NoStart: the relying party refuses to start, or never becomes ready.
	NoStart bool
	// Stuck: the browser stays at the provider, which shows an error.
	Stuck bool
	// Never are the endpoints that must not be called, by their names in package
	// idp, and API.
	Never []string
	// Ended: afterwards nobody is signed in. For SignIn that goes without saying
	// when it is refused.
	Ended bool
	// Fetches, if not 0, is how often the key set is fetched at most while it is told.
	Fetches int
}

// Lie is one of the catalogue.
type Lie struct {
	ID      string // lower case, with hyphens
	Says    string // what the provider does, one sentence
	Must    string // what must happen, a few words
	Kind    Kind
	Want    Want
	Threats []int

	// Known: the relying party has signed somebody in before, and knows the
	// provider's metadata and keys.
	Known bool
	// Repeat: what the browser brought back is sent once more; for Backchannel, the
	// logout token is.
	Repeat bool
	// Elsewhere: another browser brings it back.
	Elsewhere bool
	// Secret: it is about the client's secret, so that the client must have one.
	Secret bool
	// Bound: it is about access tokens that are bound to a key, so that they must be.
	Bound bool

	// Tell prepares the provider, and returns what it is to say from now on.
	Tell func(Stage) *idp.Hooks
}

// All is the catalogue, in the order of the kinds.
func All() []Lie {
	return slices.Concat(discovery(), pushed(), responses(), refusals(), claims(), signatures(), keys(), tokens(), userinfo(),
		refreshes(), logouts(), backchannel())
}

// Named finds a lie.
func Named(id string) (Lie, bool) {
	all := All()
	i := slices.IndexFunc(all, func(l Lie) bool { return l.ID == id })
	if i < 0 {
		return Lie{}, false
	}
	return all[i], true
}

func honest(Stage) *idp.Hooks { return &idp.Hooks{} }

// isCode tells the exchange of a code from other token requests. The form has
// been read.
func isGrant(r *http.Request, grant string) bool { return r.PostForm.Get("grant_type") == grant }

// jsonAnswer is an answer with a body of our own.
func jsonAnswer(a *idp.Answer, status int, body string) {
	a.Status, a.Body = status, []byte(body)
	a.Header = http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
}

var (
	refused      = []string{"login_failed"}
	useless      = []string{"idp_failed"}
	unavailable  = []string{"idp_unavailable"}
	afterToken   = []string{idp.EndpointUserinfo, API}
	beforeToken  = []string{idp.EndpointToken, idp.EndpointUserinfo, API}
	beforeLogin  = []string{idp.EndpointAuthorize, idp.EndpointToken, idp.EndpointUserinfo, API}
	afterRefresh = []string{idp.EndpointUserinfo, API}
)
