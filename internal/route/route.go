package route

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"keyway/internal/limit"
)

// Auth is how a route learns who is asking.
type Auth string

// The ways.
const (
	AuthSession Auth = "session" // the session cookie
	AuthBearer  Auth = "bearer"  // a presented access token
	AuthNone    Auth = "none"    // nobody asks
)

// Authz is whether the policy decision point is asked.
type Authz string

// The two answers.
const (
	AuthzNone Authz = "none"
	AuthzPDP  Authz = "pdp"
)

// TokenMode is what becomes the Authorization header to the upstream.
type TokenMode string

// The modes.
const (
	TokenSession    TokenMode = "session_passthrough" // the session's access token
	TokenService    TokenMode = "service_token"       // client credentials
	TokenOnBehalfOf TokenMode = "on_behalf_of"        // RFC 8693 exchange
	TokenNone       TokenMode = "none"
)

// TokenPolicy says which token an upstream gets.
type TokenPolicy struct {
	Mode     TokenMode
	Audience string
	Scopes   []string
}

// Mapping says what the PDP is asked for one method of a route.
type Mapping struct {
	Resource string
	Action   string
	IDFrom   string            // "{param}", or JSONPath into a JSON body; empty: no id
	Props    map[string]string // "{param}", JSONPath, or a constant
}

// Need is what a presented token must be good for. The zero Need is any token of
// any entry of idps.yaml.
type Need struct {
	Audience []string // one of them; empty: one of its entry's
	Scopes   []string // all of them
	IdPs     []string // names of entries; empty: any
}

// Accepts are those audiences of the entry that a token may be for; none: the entry's
// tokens are not accepted.
func (n Need) Accepts(entry string, audience []string) []string {
	if len(n.IdPs) > 0 && !slices.Contains(n.IdPs, entry) {
		return nil
	}
	var good []string
	for _, a := range audience {
		if len(n.Audience) == 0 || slices.Contains(n.Audience, a) {
			good = append(good, a)
		}
	}
	return good
}

// Limits are what one route takes. Zero values are no limit of the route's own.
type Limits struct {
	BodyBytes          int64
	Rate               limit.Rate // per caller: who is signed in, else the address prefix; each replica by itself
	ConcurrentRequests int        // at once, of all callers, in one process
}

// Route is one entry of routes.yaml. The Table keeps its own copy.
type Route struct {
	ID          string
	Description string
	Path        string // pattern, see Pattern
	Service     string
	// UpstreamPath is a template: literal segments, {param}, and {path} at the
	// end for what * matched. Empty means that the path is kept as it came.
	UpstreamPath string
	PreservePath bool
	Methods      []string // empty: every method of Methods(); GET includes HEAD
	Auth         Auth
	Authz        Authz
	AuthzMap     map[string]Mapping // by method
	Streaming    bool
	TokenPolicy  TokenPolicy
	Bearer       Need // with AuthBearer
	Limits       Limits
	Source       string // where it was written, for messages: file:line:column
}

// Mapping returns the inline PDP mapping of a method. HEAD is answered as GET
// is, so without a mapping of its own it is decided as GET is.
func (r *Route) Mapping(method string) (Mapping, bool) {
	m, ok := r.AuthzMap[method]
	if !ok && method == "HEAD" {
		m, ok = r.AuthzMap["GET"]
	}
	return m, ok
}

// String names the route for messages: its id if it has one, else its path.
func (r *Route) String() string {
	if r.ID != "" {
		return r.ID
	}
	return r.Path
}

// methodSet is a set of the methods that can be routed.
type methodSet uint8

var methodNames = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

const allMethods methodSet = 1<<len(methodNames) - 1

// Methods lists the methods that a route can have. CONNECT and TRACE are not
// among them: a tunnel or an echo of request headers is never proxied.
func Methods() []string { return slices.Clone(methodNames[:]) }

// methodBit is 0 for a method that no route can have.
func methodBit(method string) methodSet {
	switch method {
	case "GET":
		return 1
	case "HEAD":
		return 2
	case "POST":
		return 4
	case "PUT":
		return 8
	case "PATCH":
		return 16
	case "DELETE":
		return 32
	case "OPTIONS":
		return 64
	}
	return 0
}

func parseMethods(names []string) (methodSet, error) {
	if len(names) == 0 {
		return allMethods, nil
	}
	var set methodSet
	for _, n := range names {
		b := methodBit(n)
		if b == 0 {
			return 0, fmt.Errorf("method %q can't be routed; expected %s", n, strings.Join(methodNames[:], ", "))
		}
		set |= b
	}
	if set&methodBit("GET") != 0 {
		set |= methodBit("HEAD")
	}
	return set, nil
}

func (s methodSet) names() []string {
	out := make([]string, 0, bits.OnesCount8(uint8(s)))
	for i, n := range methodNames {
		if s&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

func (s methodSet) String() string { return strings.Join(s.names(), ", ") }

// EffectiveMethods lists the methods that the route answers: those written and
// HEAD where there is GET, or all of them where none is written.
func (r *Route) EffectiveMethods() []string {
	set, err := parseMethods(r.Methods)
	if err != nil {
		return nil // not in any Table
	}
	return set.names()
}
