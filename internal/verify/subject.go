package verify

import (
	"context"
	"net/http"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/oidc"
	"keyway/internal/secret"
)

// Subject is a running gateway, as the inside checks look at it. What is nil, zero
// or empty has its checks left out. Its functions are safe for concurrent use, and
// end when their context does.
type Subject struct {
	Replica string
	// Rings are those that are served with now, by the name of the secret.
	Rings func() map[string]keyring.Ring
	// Deployment is as the outside checks want it.
	Deployment Deployment
	// SigningKey is the name of the ring of which the public keys are published by
	// JWKS, with this max-age; Fetched is when a program last fetched them, at any
	// replica; zero: never, as far as is known.
	SigningKey string
	JWKS       http.Handler
	MaxAge     time.Duration
	Fetched    time.Time
	// Peers are the identity providers.
	Peers []Peer
	// PDP is nil where nobody is asked who may do what.
	PDP *DecisionPoint
	// SignIn is nil where nobody can sign in.
	SignIn *SignIn
	// Bearer says whether a presented token is accepted; nil: there are no bearer
	// routes. Fresh gets a token that should be; nil: none can be had.
	Bearer func(ctx context.Context, token string) Presented
	Fresh  func(context.Context) (token string, err error)
	// Seals are what is issued with secrets that are ours alone.
	Seals []Seal
	// Fleet is everybody's last words. Shared: there may be others.
	Fleet  func(context.Context) (fleet.Roll, error)
	Shared bool
	// Sources are troubles with what is handed in here, by the name of the secret.
	Sources func() map[string]string
	// HandedIn are the secrets that are handed in.
	HandedIn []string
	// Store is where sessions are kept.
	Store Store
	// Turning is what is known of rotations.
	Turning func(context.Context) ([]Turning, error)
	// AdminAddr is where the admin listener is, host:port.
	AdminAddr string
	// Account is a test account; nil: there is none.
	Account *Account
	// HTTP looks at the public side and at the IdPs' pages; nil: one with the
	// system's roots.
	HTTP *http.Client
}

// Peer is an identity provider, and our client there.
type Peer struct {
	Name, Issuer string
	// Secret is the name of the ring of our credential there, and Client presents it;
	// nil: we have none. Signs: it is the signing key.
	Secret   string
	ClientID string
	Client   *oidc.Client
	Signs    bool
	// Chosen is how we authenticate, and why so, where nobody set it; empty: somebody
	// did.
	Chosen   string
	Metadata func(context.Context) (*oidc.Metadata, error)
	// Ends is when the IdP said that our client secret ends; zero: it did not.
	Ends time.Time
	// Introspect asks about a token and returns the answer's body; nil: it is not
	// asked.
	Introspect func(ctx context.Context, token string) ([]byte, error)
}

// SignIn is how users sign in.
type SignIn struct {
	Peer string
	// Callbacks are those that the IdP has to know.
	Callbacks []string
	// Begin makes an authorization request for a callback, pushes it where the IdP
	// wants that, and returns the URL to send a browser to.
	Begin func(ctx context.Context, callback string) (string, error)
}

// Presented is what came of a presented token.
type Presented int

// What may come of it.
const (
	Refused  Presented = iota // as it is to be, for one that is made up
	Accepted                  // it passes
	Unknown                   // nobody could say, so that it does not pass
)

// Seal is one way in which a secret is used.
type Seal struct {
	Secret string
	What   string // "a CSRF token"
	// Issue makes something with the active version of a ring, which checks accepts
	// or refuses. Nothing is kept of it.
	Issue func(keyring.Ring) (checks func(by keyring.Ring) error, err error)
}

// Store is where sessions are kept.
type Store interface {
	Ping(context.Context) error
	// RoundTrip writes something that nobody reads and that ends by itself, and finds
	// it there.
	RoundTrip(context.Context) error
}

// Turning is a secret between two versions, as far as a person should know.
type Turning struct {
	Secret, Active string
	// Pending since Since: what it waits for, who holds it up. Operator is what a
	// person has to do whether or not anything is pending.
	Pending  string
	Since    time.Time
	Waiting  string
	Blocked  []string
	Operator string
	// Due is when it should have turned by age; zero: not by itself.
	Due time.Time
	// Overdue are retiring versions that should be gone by now, with since when.
	Overdue map[string]time.Time
}

// Account is somebody who may sign in, for no other purpose than to try.
type Account struct {
	Username string
	Password func() (secret.Value, error)
}

// Options of Inside.
type Options struct {
	// Secrets are those that the checks have to be about; none: everything.
	Secrets []string
	// Brief leaves out to ask about credentials that are not in use, unless the one
	// that is in use is refused: for what runs by itself.
	Brief bool
}

// Inside goes through what a gateway can check of itself, all at once, in at most
// twice the time of the longest. It shows no value and changes nothing.
func Inside(ctx context.Context, s Subject, o Options) Report {
	if s.HTTP == nil {
		s.HTTP = newHTTP(nil)
		defer s.HTTP.CloseIdleConnections()
	}
	i := inside{s, o}
	var steps []step
	for _, of := range []func() []step{
		i.keys, i.peers, i.point, i.signIn, i.bearer, i.seals, i.fleet, i.sources, i.store, i.turning, i.adminSide,
	} {
		for _, one := range of() {
			if one.concerns(o.Secrets) {
				steps = append(steps, one)
			}
		}
	}
	r := runAll(ctx, steps)
	r.Replica = s.Replica
	if len(o.Secrets) == 0 {
		d := s.Deployment
		r.Deployment = &d
	}
	return r
}

type inside struct {
	Subject
	o Options
}

// names are those of all rings that are of many.
func (i inside) names(of []string) (names []string) {
	rings := i.Rings()
	for _, name := range of {
		if !rings[name].IsZero() {
			names = append(names, name)
		}
	}
	return names
}
