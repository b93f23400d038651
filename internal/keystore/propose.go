package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
)

// ErrNoKeys says that the folder has no signing key yet, so that none can come
// after it.
var ErrNoKeys = errors.New("no signing key is here yet; the gateway makes or adopts the first one when it starts")

// ProposeOptions are the conditions of a proposal.
type ProposeOptions struct {
	// From is the version that the caller saw as active. When another is by now,
	// somebody else has been quicker, and nothing is proposed. Empty: whichever is.
	From string
	// OlderThan is the age, since activation, that the active version must have
	// reached. Zero: any.
	OlderThan time.Duration
	Now       time.Time // zero: the present
}

// Proposal is what came of one.
type Proposal struct {
	Ring keyring.Ring // as it is in the folder now
	From string       // the active version
	To   string       // the version that comes, or came, after it; empty: none yet
	Made bool         // To was made now, by this call
	Why  string       // for the operator
}

// Propose makes the next signing key, pending, and publishes it in jwks.json;
// whoever runs the gateway takes it from there. Where one is pending it is joined,
// so that of any number of processes that propose at once, one makes a key. The
// key is for the Algorithm of the store's options; if that is empty, for the same
// as the active one's. The error is ErrNoKeys in a folder without keys.
func (s *Store) Propose(o ProposeOptions) (Proposal, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if err := checkOwned(s.folder.path); err != nil {
		return Proposal{}, err
	}
	var p Proposal
	err := s.folder.locked(func() error {
		m, err := s.load(signingManifest)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keys folder %s: %w", s.folder.path, ErrNoKeys)
		}
		if err != nil {
			return err
		}
		ring, err := s.ringOf(m)
		if err != nil {
			return err
		}
		if err := s.reportStrays(m); err != nil {
			return err
		}
		p = decide(ring, o)
		if p.Why != "" {
			return s.publish(ring)
		}
		key, err := s.nextKey(m, ring)
		if err != nil {
			return err
		}
		value, err := key.RingValue()
		if err != nil {
			return err
		}
		ring, err = ring.Add(keyring.Candidate{ID: key.ID(), Value: value}, o.Now.UTC().Truncate(time.Second))
		if err != nil {
			return err
		}
		if err := s.replace(m, ring); err != nil {
			return err
		}
		p.Ring, p.To, p.Made, p.Why = ring, key.ID(), true, "made, published, and pending"
		return nil
	})
	if err != nil {
		return Proposal{}, err
	}
	return p, nil
}

// decide answers with a reason to make nothing, or without one.
func decide(ring keyring.Ring, o ProposeOptions) Proposal {
	active := ring.Active()
	p := Proposal{Ring: ring, From: active.ID}
	pending, isPending := ring.Pending()
	since := active.ActivatedAt
	if since.IsZero() {
		since = active.CreatedAt
	}
	switch {
	case o.From != "" && o.From != active.ID:
		p.From, p.To = o.From, active.ID
		p.Why = "another version is active by now"
	case isPending:
		p.To = pending.ID
		p.Why = "one is pending already, since " + pending.CreatedAt.UTC().Format(time.DateTime) + " UTC"
	case o.OlderThan > 0 && o.Now.Sub(since) < o.OlderThan:
		// A clock that was set back makes a key younger, never older.
		p.Why = fmt.Sprintf("the active version is not old enough; it is due at %s UTC", since.Add(o.OlderThan).UTC().Format(time.DateTime))
	}
	return p
}

// nextKey makes a key of the configured algorithm, else like the active one's.
func (s *Store) nextKey(m manifest, ring keyring.Ring) (jwks.Key, error) {
	if s.options.Algorithm != "" {
		return newKey(s.options.Algorithm)
	}
	active, _ := m.entry(ring.Active().ID)
	if active.Alg != "" {
		return newKey(active.Alg)
	}
	key, err := jwks.ParseKey(ring.Active().Value)
	if err != nil {
		return jwks.Key{}, err
	}
	if key.Algorithm() != "" {
		return newKey(key.Algorithm())
	}
	// An RSA key that may sign with either algorithm, as each peer wants.
	return makeKey(key.Algorithms()[0])
}
