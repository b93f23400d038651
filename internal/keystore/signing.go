package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

const (
	signingName     = "signing-key"
	signingManifest = "signing-key.json"
	publicFile      = "jwks.json"
)

func pemFile(id string) string { return "signing-" + id + ".pem" }

// Signing is the signing key's versions as they are in the folder now; the zero
// Ring if there are none. It waits for nobody: what others write meanwhile, it
// sees whole or not at all. A version's id is the key's RFC 7638 thumbprint, its
// value PKCS #8 in PEM, for [keyway/internal/jwks]; each key has proved itself.
func (s *Store) Signing() (keyring.Ring, error) {
	ring, err := s.readSigning()
	if err != nil {
		return keyring.Ring{}, err
	}
	strays, err := s.strays(ring)
	if err != nil || len(strays) == 0 {
		return ring, err
	}
	// Whether they are strays is only certain while nobody writes.
	return ring, s.folder.IfFree(func() error {
		m, err := s.load(signingManifest)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // any may be the first
		}
		if err != nil {
			return err
		}
		return s.reportStrays(m)
	})
}

// strays lists the key files that are not of a live version.
func (s *Store) strays(ring keyring.Ring) ([]string, error) {
	ids, err := s.folder.match("signing-", ".pem")
	return slices.DeleteFunc(ids, func(id string) bool {
		_, err := ring.Lookup(id)
		return err == nil
	}), err
}

// signingReads is how often a reader meets a rotation before it takes its turn
// with the writers.
const signingReads = 3

// maxProved bounds what is remembered of keys; few live at a time.
const maxProved = 100

func (s *Store) readSigning() (keyring.Ring, error) {
	for range signingReads {
		content, err := s.folder.read(signingManifest)
		if errors.Is(err, fs.ErrNotExist) {
			return keyring.Ring{}, nil
		}
		if err != nil {
			return keyring.Ring{}, err
		}
		m, err := s.parse(signingManifest, content)
		if err != nil {
			return keyring.Ring{}, err
		}
		ring, err := s.ringOf(m)
		if err == nil {
			return ring, nil
		}
		// A key's file goes after the manifest has said so.
		if again, rerr := s.folder.read(signingManifest); rerr == nil && bytes.Equal(again, content) {
			return keyring.Ring{}, err
		}
	}
	var ring keyring.Ring
	err := s.folder.locked(func() error {
		m, err := s.load(signingManifest)
		if err == nil {
			ring, err = s.ringOf(m)
		}
		return err
	})
	return ring, err
}

func (s *Store) ringOf(m manifest) (keyring.Ring, error) {
	ring, err := m.ring(s.signingValue)
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("%s: %w", filepath.Join(s.folder.path, signingManifest), err)
	}
	return ring, nil
}

// FirstSigning is Signing for a folder that is to have a key: where there is
// none, one is adopted or made, as the options of [Open] say, and is active at
// once, since nobody can have fetched another. Of several processes that start in
// an empty folder one does so.
func (s *Store) FirstSigning() (keyring.Ring, error) {
	var ring keyring.Ring
	err := s.folder.locked(func() error {
		var err error
		ring, err = s.firstSigning()
		return err
	})
	return ring, err
}

func (s *Store) firstSigning() (keyring.Ring, error) {
	adopted, err := readAdopted(s.options)
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("BFF_JWT_SIGNING_KEY: %w", err)
	}
	m, err := s.load(signingManifest)
	if errors.Is(err, fs.ErrNotExist) {
		ring, err := s.firstRing(adopted)
		if err != nil {
			return keyring.Ring{}, err
		}
		return ring, s.replace(manifest{}, ring)
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	if !adopted.IsZero() {
		if _, known := m.entry(adopted.ID()); !known {
			s.notice("BFF_JWT_SIGNING_KEY holds a key (%s) that is not one of those in %s; it was not adopted, because it is meant for a folder without keys",
				adopted.ID(), s.folder.path)
		}
	}
	ring, err := s.ringOf(m)
	if err != nil {
		return keyring.Ring{}, err
	}
	if err := s.reportStrays(m); err != nil {
		return keyring.Ring{}, err
	}
	return ring, s.publish(ring)
}

// firstRing holds the first key: the one handed in, else one that an interrupted
// start left behind, else a new one.
func (s *Store) firstRing(key jwks.Key) (keyring.Ring, error) {
	var err error
	if key.IsZero() {
		if key, err = s.orphan(); err != nil {
			return keyring.Ring{}, err
		}
	}
	if key.IsZero() {
		if key, err = newKey(s.options.Algorithm); err != nil {
			return keyring.Ring{}, err
		}
	}
	v := first(key.ID())
	if v.Value, err = key.RingValue(); err != nil {
		return keyring.Ring{}, err
	}
	return keyring.New(signingName, v)
}

// orphan finds, in a folder without a manifest, a key file that holds the key
// that its name says and suits the options: before all others one that was
// published, in the order in which it was, the active one first; else the newest.
func (s *Store) orphan() (jwks.Key, error) {
	ids, err := s.folder.match("signing-", ".pem")
	if err != nil {
		return jwks.Key{}, err
	}
	published := s.published()
	slices.SortStableFunc(ids, func(a, b string) int { return rank(published, a) - rank(published, b) })
	for _, id := range ids {
		key, err := s.readKey(id, s.options.Algorithm)
		if err == nil {
			s.notice("%s was there without a manifest, as an interrupted first start leaves it; it is in use now", pemFile(id))
			return key, nil
		}
		s.notice("%s was left alone: %v", pemFile(id), err)
	}
	return jwks.Key{}, nil
}

func rank(list []string, id string) int {
	if i := slices.Index(list, id); i >= 0 {
		return i
	}
	return len(list)
}

// published lists the keys of jwks.json, none if it can't be read.
func (s *Store) published() []string {
	content, err := s.folder.read(publicFile)
	if err != nil {
		return nil
	}
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if json.Unmarshal(content, &set) != nil {
		return nil
	}
	ids := make([]string, len(set.Keys))
	for i, key := range set.Keys {
		ids[i] = key.ID
	}
	return ids
}

// reportStrays tells of key files that are not in use.
func (s *Store) reportStrays(m manifest) error {
	ids, err := s.folder.match("signing-", ".pem")
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, known := m.entry(id)
		switch {
		case !known:
			s.notice("%s is named by no version in %s; it is not used, and may be removed", pemFile(id), signingManifest)
		case !e.State.Live():
			s.notice("%s is there, as restoring a backup leaves it, though version %s is %s; it is not used, and should be removed",
				pemFile(id), id, e.State)
		}
	}
	return nil
}

// readKey reads a key file and checks that it holds what its name says.
func (s *Store) readKey(id, algorithm string) (jwks.Key, error) {
	content, err := s.folder.read(pemFile(id))
	if err != nil {
		return jwks.Key{}, err
	}
	path := filepath.Join(s.folder.path, pemFile(id))
	key, err := jwks.ParseKey(secret.NewValue(content))
	if err != nil {
		return jwks.Key{}, fmt.Errorf("%s: %w", path, err)
	}
	if key.ID() != id {
		return jwks.Key{}, fmt.Errorf("%s: expected the key %s, found %s", path, id, key.ID())
	}
	if algorithm != "" {
		if key, err = key.Bind(algorithm); err != nil {
			return jwks.Key{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	return key, nil
}

// signingValue opens a live version for the ring, and has it prove itself.
func (s *Store) signingValue(e entry) (secret.Value, error) {
	key, err := s.readKey(e.ID, e.Alg)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, fmt.Errorf("version %s is %s, but its file %s is missing; restore it from a backup",
			e.ID, e.State, pemFile(e.ID))
	}
	if err != nil {
		return secret.Value{}, err
	}
	value, err := key.RingValue()
	if err != nil {
		return secret.Value{}, err
	}
	return value, s.prove(key, value)
}

// prove has a key sign and verify, once for each that this Store meets.
func (s *Store) prove(key jwks.Key, value secret.Value) error {
	sum := sha256.Sum256(value.Reveal())
	s.mu.Lock()
	done, known := s.proved[key.ID()]
	s.mu.Unlock()
	if known && done == sum {
		return nil
	}
	if err := key.Prove(); err != nil {
		return fmt.Errorf("signing key %s: %w", key.ID(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.proved) >= maxProved {
		clear(s.proved)
	}
	s.proved[key.ID()] = sum
	return nil
}
