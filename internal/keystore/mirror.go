package keystore

import (
	"errors"
	"fmt"
	"io/fs"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
)

// StaleError says that a ring can't be mirrored, because the folder has seen a
// later one: what is over must not come back, and a key in use must not vanish.
type StaleError struct {
	Dir, Version string
	Found        keyring.State // in the folder
	Given        keyring.State // in the ring; empty: it is not in it
}

func (e *StaleError) Error() string {
	given := "is missing"
	if e.Given != "" {
		given = "is " + string(e.Given)
	}
	return fmt.Sprintf("keys folder %s: version %s is %s there, and in the ring that is to replace it %s; the ring is older than the folder",
		e.Dir, e.Version, e.Found, given)
}

// Mirror makes the folder hold this ring: key files of the live versions,
// manifest, jwks.json; key files of the others go. At any instant the folder
// opens with the ring before or with this one, and jwks.json has every live key
// of the manifest: a key is published before a manifest names it, and withdrawn
// after.
//
// A pending version that the ring has never had was proposed meanwhile: it stays,
// unless the ring has a pending version of its own; then it is recorded as
// rejected. A ring that would bring back what has ended, or lacks a key that is in
// use, is refused with a *StaleError. One that shares no version with the folder
// replaces everything in it but the key files, which then belong to nobody.
func (s *Store) Mirror(ring keyring.Ring) error {
	if ring.IsZero() {
		return errors.New("keys folder: expected a ring with an active version, found an empty one")
	}
	return s.folder.locked(func() error {
		old, err := s.load(signingManifest)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		next, err := s.succeed(old, ring)
		if err != nil {
			return err
		}
		return s.replace(old, next)
	})
}

// succeed is the ring with what only the folder knows.
func (s *Store) succeed(old manifest, ring keyring.Ring) (keyring.Ring, error) {
	states := map[string]keyring.State{}
	for v := range ring.All() {
		states[v.ID] = v.State
	}
	if !old.related(ring) {
		return ring, nil
	}
	_, taken := ring.Pending()
	var before, after []keyring.Version
	for _, e := range old.Versions {
		state, there := states[e.ID]
		switch {
		case e.State != keyring.Pending && ring.Forgot(e.Version): // it has ended long ago
		case there:
			if !e.State.Live() && state != e.State || e.State != keyring.Pending && state == keyring.Pending {
				return keyring.Ring{}, &StaleError{Dir: s.folder.path, Version: e.ID, Found: e.State, Given: state}
			}
		case e.State == keyring.Pending && !taken:
			value, err := s.signingValue(e)
			if err != nil {
				return keyring.Ring{}, err
			}
			v := e.Version
			v.Value = value
			before = append(before, v)
		case e.State == keyring.Pending:
			v := e.Version
			v.State, v.TakesOver, v.Exposed = keyring.Rejected, false, false
			after = append(after, v)
			s.notice("version %s, which was proposed in %s, was rejected: another was pending already", v.ID, s.folder.path)
		case e.State.Live():
			return keyring.Ring{}, &StaleError{Dir: s.folder.path, Version: e.ID, Found: e.State}
		default:
			after = append(after, e.Version)
		}
	}
	for v := range ring.All() {
		before = append(before, v)
	}
	next, err := keyring.New(ring.Name(), append(before, after...)...)
	return next.Prune(), err
}

// replace puts the ring in the place of the old manifest's. The order is the
// promise: key files, then jwks.json with the keys of before and after, the
// manifest, jwks.json with those of after, and last what is over.
func (s *Store) replace(old manifest, ring keyring.Ring) error {
	alg := map[string]string{}
	for v := range ring.Live() {
		key, err := jwks.ParseKey(v.Value)
		if err != nil {
			return fmt.Errorf("signing key %s: %w", v.ID, err)
		}
		if key.ID() != v.ID {
			return fmt.Errorf("signing key %s: expected the key that the id is the thumbprint of, found %s", v.ID, key.ID())
		}
		alg[v.ID] = key.Algorithm()
		if err := s.prove(key, v.Value); err != nil {
			return err
		}
		text, err := key.PEM()
		if err != nil {
			return err
		}
		if err := s.writeIfChanged(pemFile(v.ID), text.Reveal()); err != nil {
			return err
		}
	}
	overlap, err := s.overlap(old, ring)
	if err != nil {
		return err
	}
	if err := s.publish(overlap); err != nil {
		return err
	}
	next := old.with(ring, alg)
	if err := s.save(signingManifest, next); err != nil {
		return err
	}
	if err := s.publish(ring); err != nil {
		return err
	}
	if err := s.clear(old, next); err != nil {
		return err
	}
	if err := s.clearForgotten(old, ring); err != nil {
		return err
	}
	return s.reportStrays(next)
}

// overlap is the ring, and as retiring whatever else is live in the old manifest.
func (s *Store) overlap(old manifest, ring keyring.Ring) (keyring.Ring, error) {
	var versions []keyring.Version
	live := map[string]bool{}
	for v := range ring.Live() {
		versions = append(versions, v)
		live[v.ID] = true
	}
	for _, e := range old.Versions {
		if live[e.ID] || !e.State.Live() {
			continue
		}
		key, err := s.readKey(e.ID, e.Alg)
		if err != nil {
			// It can't be used either; the step that replaces it must not fail for that.
			s.notice("version %s is %s, and its key can't be read: %v", e.ID, e.State, err)
			continue
		}
		v := keyring.Version{ID: e.ID, State: keyring.Retiring}
		if v.Value, err = key.RingValue(); err != nil {
			return keyring.Ring{}, err
		}
		versions = append(versions, v)
	}
	return keyring.New(ring.Name(), versions...)
}

// publish writes jwks.json. It is public and derived, so one with another mode is
// simply replaced.
func (s *Store) publish(ring keyring.Ring) error {
	public, err := jwks.Document(ring)
	if err != nil {
		return err
	}
	err = s.writeIfChanged(publicFile, public)
	if _, loose := errors.AsType[*PermissionError](err); loose {
		return s.folder.Write(publicFile, public)
	}
	return err
}

// clear removes the key files of versions that have ended.
func (s *Store) clear(old, next manifest) error {
	for _, e := range next.Versions {
		if e.State.Live() {
			continue
		}
		removed, err := s.folder.Remove(pemFile(e.ID))
		if err != nil {
			return err
		}
		if before, known := old.entry(e.ID); removed && known && !before.State.Live() {
			s.notice("%s was there, as restoring a backup or an interrupted write leaves it, though version %s is %s; it was not used, and is removed",
				pemFile(e.ID), e.ID, e.State)
		}
	}
	return nil
}

// clearForgotten removes the key files of versions that the ring has forgotten. The
// key files of another ring belong to nobody, and stay.
func (s *Store) clearForgotten(old manifest, ring keyring.Ring) error {
	if !old.related(ring) {
		return nil
	}
	for _, e := range old.Versions {
		if e.State == keyring.Pending || !ring.Forgot(e.Version) {
			continue
		}
		if _, err := s.folder.Remove(pemFile(e.ID)); err != nil {
			return err
		}
	}
	return nil
}
