package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
	"keyway/internal/session"
)

const (
	// assertionsLive is the longest that a client assertion is good for, with some
	// time for it to be on its way.
	assertionsLive = 2 * time.Minute
	// requestsLive is for what lives no longer than the request that it is sent in.
	requestsLive = time.Minute
	// sealAnewWithin is how long sealing anew what a compromised key has sealed may
	// take.
	sealAnewWithin = 2 * time.Minute
	// peersKeep is the floor of a peer's cache of our keys: that much older than
	// max-age it may be.
	peersKeep = 5 * time.Minute
	// askAlgorithms is how long a new signing key waits for the provider to say what
	// it takes. All other secrets' turns wait as long; and the provider's metadata is
	// kept fresh beside this, so that it is there unless the provider is away.
	askAlgorithms = time.Second
)

// turning is what package rotation has to know of each secret.
func (a *app) turning() []rotation.Secret {
	all := make([]rotation.Secret, len(a.defs))
	for i, d := range a.defs {
		all[i] = a.turn(d)
	}
	return all
}

func (a *app) turn(d definition) rotation.Secret {
	s := rotation.Secret{
		Name:   d.name,
		Make:   func(context.Context) (keyring.Candidate, error) { return randomSecret(d.name), nil },
		HandIn: a.howToHandIn(d),
	}
	base := a.policy(d.name)
	sessions := a.config.Session.Lifetime
	switch {
	case d.name == nameTokenHashSalt:
		base.Lifetime = sessions
		s.Tend = a.tendSalt
	case d.name == nameSessionKey:
		base.Lifetime, base.Condemned = sessions, sealAnewWithin
		s.Tend = a.tendSessionKey
	case d.name == nameUAHashSalt:
		base.Lifetime = sessions
		s.Tend = a.tendUASalt
	case d.name == nameCSRFKey:
		base.Lifetime = sessions
	case d.name == nameStateKey:
		base.Lifetime = oidc.SignInLifetime
	case d.name == fleet.KeyEncryptionKey:
		base.Lifetime, base.Condemned = requestsLive, sealAnewWithin
		s.Tend = a.tendKeyEncryptionKey
	case d.name == nameSigningKey:
		base.Lifetime = assertionsLive
		s.Make = a.makeSigningKey
	case d.name == nameDPoPKey:
		// Tokens are bound to the version they were asked for with, and so are sign-ins
		// under way. A refresh binds to the active one, so few are left after a while; but
		// a token that nobody refreshes may be as old as its session.
		base.Lifetime = max(sessions, oidc.SignInLifetime)
		s.Make = a.makeDPoPKey
	case d.peer:
		base.Lifetime = requestsLive
		s.Make = a.makeAtPeer(d)
	}
	base.Lifetime = max(base.Lifetime, a.config.Rotation.For(d.name).Lifetime)
	s.Policy = func(keyring.Ring) rotation.Policy { return base }
	if users := a.peersOf(d.name); len(users) > 0 {
		base.Kind, base.Provable = rotation.Outward, true
		var refused refuser
		s.Prove = func(ctx context.Context, version string) (rotation.Verdict, error) {
			verdict, by, err := a.prove(ctx, users, version)
			if verdict == rotation.Refused && refused.note(version, by) && d.peer {
				a.tellRefused(d, version, a.resources.peers[by].Issuer(), a.registerAt(users, by))
			}
			return verdict, err
		}
		s.Operator = func(v keyring.Version, p rotation.Proof) string {
			return a.operator(d, users, cmp.Or(refused.of(v.ID), users[0]), v, p)
		}
		s.Policy = func(ring keyring.Ring) rotation.Policy { return a.outward(d, base, ring) }
	}
	if d.name == namePDPSecret {
		base.Kind, base.Provable = rotation.Outward, true
		var refused refuser
		s.Prove = func(ctx context.Context, version string) (rotation.Verdict, error) {
			verdict, err := a.resources.authorizing.remote.prove(ctx, version)
			if at := a.resources.authorizing.remote.at(); verdict == rotation.Refused && refused.note(version, at) {
				a.tellRefused(d, version, at, a.makeKnownAtPDP())
			}
			return verdict, err
		}
		s.Operator = a.operatorOfPDP
	}
	return s
}

func (a *app) policy(name string) rotation.Policy {
	r := a.config.Rotation
	c := r.For(name)
	p := rotation.Policy{Kind: rotation.Inward, Guard: c.Guard, Skew: r.Skew, Patience: c.Patience, Gone: gone, Limit: c.Limit}
	if r.Auto {
		p.Every = c.Every
	}
	return p
}

// outward adds that a peer which has fetched our keys since the new one is among
// them goes by them at last when its cache is over. One that has not fetched them
// may hold the key set itself: for that, only a proof counts.
//
// The fetch may have been at any replica, since none knows at which a peer's
// requests arrive. Who leads may never see one.
func (a *app) outward(d definition, p rotation.Policy, ring keyring.Ring) rotation.Policy {
	if d.name != nameSigningKey {
		return p
	}
	if pending, ok := ring.Pending(); ok && a.overheard.fetched().After(pending.CreatedAt.Add(p.Skew)) {
		p.Published = jwks.DefaultMaxAge + peersKeep
	}
	return p
}

// overheard is the fleet as a Runner sees it. It keeps when any replica was last
// asked for our keys: a Runner looks at the fleet first, and then asks for the
// policy, which it does not tell what it saw. It is safe for concurrent use.
type overheard struct {
	rotation.Fleet
	at atomic.Pointer[time.Time]
}

// Roll implements rotation.Fleet.
func (o *overheard) Roll(ctx context.Context) (rotation.Roll, error) {
	roll, err := o.Fleet.Roll(ctx)
	if err != nil {
		return roll, err
	}
	at := roll.Fetched(nameSigningKey)
	if !at.IsZero() {
		// From our own clock to that of the ring's dates.
		at = roll.Now.Add(time.Until(at))
	}
	o.at.Store(&at)
	return roll, nil
}

// fetched is zero if nobody has fetched our keys since the newest is among them, as
// far as is known here.
func (o *overheard) fetched() time.Time {
	if at := o.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

func (a *app) howToHandIn(d definition) string {
	if !d.handedIn() {
		return ""
	}
	from := d.ref.String()
	if g, ok := a.sources.all()[d.name]; ok {
		from = g.origin
	}
	return fmt.Sprintf("a new value has to be handed in: replace the one from %s; it is tried at the %s before anything depends on it", from, peerKind(d.name))
}

func (a *app) makeSigningKey(ctx context.Context) (keyring.Candidate, error) {
	ask, cancel := context.WithTimeout(ctx, askAlgorithms)
	defer cancel()
	algorithm := a.resources.signingAlgorithm(ask, a.config)
	if algorithm == "" && a.resources.provider != nil {
		algorithm = a.algorithmInUse()
	}
	id, value, err := keystore.NewSigningKey(algorithm)
	return keyring.Candidate{ID: id, Value: value}, err
}

// makeDPoPKey makes a key for proofs, which the provider that binds tokens to it takes.
func (a *app) makeDPoPKey(ctx context.Context) (keyring.Candidate, error) {
	ask, cancel := context.WithTimeout(ctx, askAlgorithms)
	defer cancel()
	algorithm := ""
	if metadata, err := a.resources.provider.Metadata(ask); err == nil {
		algorithm = metadata.BestProofAlgorithm()
	} else if s := a.current.Load(); s != nil && s.proofs != nil {
		algorithm = s.proofs.Algorithm(s.proofs.Active())
	}
	id, value, err := keystore.NewSigningKey(algorithm)
	return keyring.Candidate{ID: id, Value: value}, err
}

// algorithmInUse is what a provider that can't be asked took so far; empty: nothing
// is known.
func (a *app) algorithmInUse() string {
	key, err := jwks.ParseKey(a.current.Load().rings[nameSigningKey].Active().Value)
	if err != nil {
		return ""
	}
	if algorithm := key.Algorithm(); algorithm != "" {
		return algorithm
	}
	return jwks.RS256 // an RSA key for either, and this is what all have to take
}

// makeAtPeer is how a new client secret is had from a peer that gives us one; nil:
// none does, so that people have to fetch it.
func (a *app) makeAtPeer(d definition) func(context.Context) (keyring.Candidate, error) {
	register := a.registrars[d.name]
	if register == nil {
		return nil
	}
	return func(ctx context.Context) (keyring.Candidate, error) {
		value, err := register(ctx)
		if err != nil {
			return keyring.Candidate{}, err
		}
		return keyring.Candidate{ID: d.fingerprint(value), Value: value}, nil
	}
}

func (a *app) sessions() *session.Manager { return a.current.Load().generation.Sessions }

// prove asks every peer that the credential is for. All have to accept it. When
// one wants to be asked later, all are. by is the first that refuses it.
func (a *app) prove(ctx context.Context, users []string, version string) (verdict rotation.Verdict, by string, err error) {
	verdict = rotation.Accepted
	var errs []error
	for _, name := range users {
		peer := a.resources.peers[name]
		client := a.current.Load().clients[name]
		metadata, err := peer.Metadata(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		said, err := client.Prove(ctx, metadata, version)
		switch {
		case err != nil:
			errs = append(errs, err)
		case said == oidc.Refuted:
			return rotation.Refused, name, later(errs)
		case said != oidc.Proved:
			verdict = rotation.Unknown
		}
	}
	if len(errs) > 0 {
		return rotation.Unknown, "", cmp.Or(later(errs), errors.Join(errs...))
	}
	return verdict, "", nil
}

// later says until when the busiest of peers wants to be left alone; nil: none does.
func later(errs []error) error {
	var after time.Duration
	for _, err := range errs {
		if away, ok := errors.AsType[*oidc.UnavailableError](err); ok {
			after = max(after, away.RetryAfter)
		}
	}
	if after <= 0 {
		return nil
	}
	return &rotation.LaterError{After: after, Err: errors.Join(errs...)}
}
