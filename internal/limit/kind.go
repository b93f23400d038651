package limit

// Kind is what is counted.
type Kind string

// The kinds.
const (
	SignIn            Kind = "sign_in"
	Callback          Kind = "callback"
	BackchannelLogout Kind = "backchannel_logout"
	RefusedToken      Kind = "refused_token"
)
