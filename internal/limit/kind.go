package limit

// Kind is what is counted.
type Kind string

// The kinds.
const (
	SignIn            Kind = "sign_in"
	Callback          Kind = "callback"
	BackchannelLogout Kind = "backchannel_logout"
	RefusedToken      Kind = "refused_token"
	Question          Kind = "question" // of a page: what may its user do? By account
	Route             Kind = "route"    // of routes.yaml; see Callers. A Limiter has none
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{SignIn, Callback, BackchannelLogout, RefusedToken, Question, Route}
}
