package idp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Endpoint names, as in [Seen] and [Stats].
const (
	EndpointDiscovery     = "discovery"
	EndpointJWKS          = "jwks"
	EndpointPAR           = "par"
	EndpointAuthorize     = "authorize"
	EndpointSignIn        = "signin"
	EndpointToken         = "token"
	EndpointUserinfo      = "userinfo"
	EndpointIntrospection = "introspection"
	EndpointRevocation    = "revocation"
	EndpointEndSession    = "end_session"
	EndpointSignOut       = "signout"
	EndpointOther         = "other" // any path that we do not have
)

// Seen is one request that arrived. Values of secret parameters (codes, tokens,
// assertions, passwords, verifiers) are replaced by a fingerprint, "hmac:" and
// 16 hex digits under a key that never leaves the provider: equal values have
// equal fingerprints, and that is all they tell. Long values are cut.
type Seen struct {
	At       time.Time
	Endpoint string
	Method   string

	Query url.Values // front channel
	Form  url.Values // body

	ClientID   string // as authenticated, or as claimed where it was not
	AuthMethod string // client authentication method that was tried, or "bearer"

	// AssertionHeader and AssertionClaims are those of a client assertion as it
	// came, verified or not.
	AssertionHeader map[string]any
	AssertionClaims map[string]any

	// Of a proof of possession and of a request object, likewise.
	ProofHeader, ProofClaims     map[string]any
	RequestHeader, RequestClaims map[string]any

	Status int    // 0 while the answer is under way
	Error  string // OAuth error code of our own answer, before any hook
}

// Stats are counts since the start.
type Stats struct {
	Requests    map[string]uint64 // by endpoint, counted on arrival
	JWKSFetches map[string]uint64 // fetches of jwks_uri, by client
	AuthFailed  map[string]uint64 // refused client authentications, by client id as registered; "" for unknown ones
}

// Of returns the requests that arrived at an endpoint.
func (s Stats) Of(endpoint string) int { return int(s.Requests[endpoint]) }

type observer struct {
	mu      sync.Mutex
	key     []byte
	max     int
	ring    []*Seen // oldest at next, once full
	next    int
	count   map[string]uint64
	refused map[string]uint64
}

func newObserver(max int) *observer {
	return &observer{
		key: []byte(random()), max: max,
		count: make(map[string]uint64), refused: make(map[string]uint64),
	}
}

func (o *observer) arrived(s *Seen) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count[s.Endpoint]++
	if len(o.ring) < o.max {
		o.ring = append(o.ring, s)
		return
	}
	o.ring[o.next] = s
	o.next = (o.next + 1) % len(o.ring)
}

// note changes a record that others may be reading.
func (o *observer) note(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *observer) fingerprint(v string) string {
	m := hmac.New(sha256.New, o.key)
	m.Write([]byte(v))
	return "hmac:" + hex.EncodeToString(m.Sum(nil)[:8])
}

var secretParams = []string{
	"access_token", "actor_token", "client_assertion", "client_secret", "code", "code_verifier",
	"id_token_hint", "password", "refresh_token", "request", "subject_token", "token", "tx",
}

// Bounds of one record: a thousand of them must stay small.
const (
	maxSeenParams = 64
	maxSeenValue  = 512
)

func (o *observer) shown(v url.Values) url.Values {
	out := make(url.Values, min(len(v), maxSeenParams))
	n := 0
	for name, values := range v {
		for _, value := range values {
			if n++; n > maxSeenParams {
				return out
			}
			if slices.Contains(secretParams, name) {
				value = o.fingerprint(value)
			}
			name := name[:min(len(name), maxSeenValue)]
			out[name] = append(out[name], value[:min(len(value), maxSeenValue)])
		}
	}
	return out
}

// Seen returns the requests that arrived at the named endpoints (at any, when
// none is named), oldest first. At most Options.MaxRecords are remembered.
func (p *Provider) Seen(endpoints ...string) []Seen {
	o := p.seen
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Seen
	for i := range o.ring {
		s := o.ring[(o.next+i)%len(o.ring)]
		if len(endpoints) == 0 || slices.Contains(endpoints, s.Endpoint) {
			out = append(out, *s)
		}
	}
	return out
}

// Fingerprint returns what Seen shows in place of a secret value.
func (p *Provider) Fingerprint(value string) string { return p.seen.fingerprint(value) }

// ForgetSeen empties what Seen returns. Stats go on counting.
func (p *Provider) ForgetSeen() {
	p.seen.mu.Lock()
	defer p.seen.mu.Unlock()
	p.seen.ring, p.seen.next = nil, 0
}

// Stats returns the counters.
func (p *Provider) Stats() Stats {
	s := Stats{JWKSFetches: make(map[string]uint64)}
	p.seen.mu.Lock()
	s.Requests, s.AuthFailed = maps.Clone(p.seen.count), maps.Clone(p.seen.refused)
	p.seen.mu.Unlock()
	p.mu.Lock()
	clients := slices.Collect(maps.Values(p.clients))
	p.mu.Unlock()
	for _, c := range clients {
		if c.remote != nil {
			s.JWKSFetches[c.ID] = c.remote.fetches.Load()
		}
	}
	return s
}
