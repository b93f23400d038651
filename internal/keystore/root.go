package keystore

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/keyring/ringjson"
	"keyway/internal/secret"
)

const rootName = "root-key"

func rootFile(id string) string { return "root-" + id + ".key" }

// RootKey opens what else is sealed on this machine, where nobody hands in a
// secret to do so.
type RootKey struct {
	ID    string
	Value secret.Value // 48 random bytes
	made  time.Time
}

// ErrLastRoot says that the last root key was to go.
var ErrLastRoot = errors.New("keys folder: this is the last root key; without it nothing that is sealed under it can be opened")

// RootKeys are the root keys of the folder, newest first. One is made if there is
// none. A file that holds no root key is passed over with a notice, unless nothing
// else is left: a new key would open nothing of what there is.
func (s *Store) RootKeys() ([]RootKey, error) {
	var keys []RootKey
	err := s.folder.locked(func() error {
		var err error
		if keys, err = s.rootKeys(); err == nil && len(keys) == 0 {
			var key RootKey
			key, err = s.newRoot(time.Time{})
			keys = []RootKey{key}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// TurnRoot makes another root key, the newest from now on. Those before it stay.
func (s *Store) TurnRoot() (RootKey, error) {
	var key RootKey
	err := s.folder.locked(func() error {
		keys, err := s.rootKeys()
		if err != nil {
			return err
		}
		var newest time.Time
		if len(keys) > 0 {
			newest = keys[0].made
		}
		key, err = s.newRoot(newest)
		return err
	})
	return key, err
}

// DropRoot removes a root key; one that is not there is no error. The last one
// that can be read stays: ErrLastRoot. What is sealed under the key is for the
// caller to have sealed under another before.
func (s *Store) DropRoot(id string) error {
	if !keyring.IsID(id) {
		return fmt.Errorf("root key: expected an id of the form %s, found another", keyring.IDForm)
	}
	return s.folder.locked(func() error {
		keys, err := s.rootKeys()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(keys, func(k RootKey) bool { return k.ID != id }) {
			return ErrLastRoot
		}
		_, err = s.folder.Remove(rootFile(id))
		return err
	})
}

func (s *Store) rootKeys() ([]RootKey, error) {
	ids, err := s.folder.match("root-", ".key")
	if err != nil {
		return nil, err
	}
	var keys []RootKey
	var damaged error
	for _, id := range ids {
		key, err := s.readRoot(id)
		if err != nil {
			damaged = err
			s.notice("a root key was passed over: %v", err)
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 && damaged != nil {
		return nil, fmt.Errorf("%w; restore it from a backup, or, if nothing is sealed under it, remove it", damaged)
	}
	slices.SortFunc(keys, func(a, b RootKey) int { return b.made.Compare(a.made) })
	return keys, nil
}

func (s *Store) readRoot(id string) (RootKey, error) {
	content, err := s.folder.read(rootFile(id))
	if err != nil {
		return RootKey{}, err
	}
	key, err := parseRoot(id, content)
	if err != nil {
		return RootKey{}, fmt.Errorf("%s: %w", filepath.Join(s.folder.path, rootFile(id)), err)
	}
	return key, nil
}

func parseRoot(id string, content []byte) (RootKey, error) {
	raw, err := ringjson.Parse(content)
	if err != nil {
		return RootKey{}, err
	}
	var value []byte
	key := RootKey{ID: id}
	if err := errors.Join(raw.TakeFormat(manifestFormat), raw.Take("created_at", &key.made), raw.Take("value", &value)); err != nil {
		return RootKey{}, err
	}
	key.Value = secret.NewValue(value)
	if secret.Fingerprint(rootName, key.Value) != id {
		return RootKey{}, errors.New("holds another key than its name says")
	}
	return key, nil
}

// newRoot makes a root key that is newer than the newest, whatever the clock says.
func (s *Store) newRoot(newest time.Time) (RootKey, error) {
	key := RootKey{Value: random(), made: time.Now().UTC()}
	if !key.made.After(newest) {
		key.made = newest.Add(time.Microsecond)
	}
	key.ID = secret.Fingerprint(rootName, key.Value)
	content, err := encode(ringjson.Object{"format": manifestFormat, "created_at": key.made, "value": key.Value.Reveal()})
	if err != nil {
		return RootKey{}, err
	}
	return key, s.folder.Write(rootFile(key.ID), content)
}
