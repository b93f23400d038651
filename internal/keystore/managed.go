package keystore

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"

	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

const (
	kekName     = "key-encryption-key"
	kekManifest = "key-encryption-key.json"
	// sealPurpose separates what is sealed here from whatever else a
	// key-encryption key may be used for.
	sealPurpose = "managed secret"
)

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func kekFile(id string) string { return "kek-" + id + ".key" }

// ManagedRing is the versions of a secret that Keyway makes and keeps itself.
// On first use 48 random bytes are made for it. The file holds them sealed
// under the key-encryption key, so that a copy of ring-*.json alone says
// nothing. The name is one like "session-key": lower case, digits, dashes.
func (s *Store) ManagedRing(name string) (keyring.Ring, error) {
	if !namePattern.MatchString(name) {
		return keyring.Ring{}, fmt.Errorf("managed secret: expected a name of the form %s, found %.70q", namePattern, name)
	}
	var ring keyring.Ring
	err := s.folder.locked(func() error {
		kek, err := s.openKEK()
		if err != nil {
			return err
		}
		sealer, err := seal.NewSealer(kek, sealPurpose)
		if err != nil {
			return err
		}
		file := "ring-" + name + ".json"
		m, err := s.load(file)
		if errors.Is(err, fs.ErrNotExist) {
			m, err = s.firstManaged(file, name, sealer)
		}
		if err != nil {
			return err
		}
		ring, err = m.ring(func(e entry) (secret.Value, error) { return open(sealer, name, e) })
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(s.folder.path, file), err)
		}
		return nil
	})
	return ring, err
}

func (s *Store) firstManaged(file, name string, sealer *seal.Sealer) (manifest, error) {
	value := random()
	id := secret.Fingerprint(name, value)
	m := manifest{Name: name, Versions: []entry{{Version: first(id), Sealed: sealer.Seal(value.Reveal(), sealContext(name, id))}}}
	return m, s.save(file, m)
}

// open unseals a version and checks that it is the one it says: the id is a
// fingerprint of the value.
func open(sealer *seal.Sealer, name string, e entry) (secret.Value, error) {
	plain, err := sealer.Open(e.Sealed, sealContext(name, e.ID))
	switch {
	case errors.Is(err, keyring.ErrUnknownVersion):
		id, _ := seal.VersionOf(e.Sealed)
		return secret.Value{}, fmt.Errorf("version %s is sealed under the key-encryption key %.64q, which is not here; restore %s from a backup",
			e.ID, id, kekFile("<id>"))
	case err != nil:
		return secret.Value{}, fmt.Errorf("version %s can't be unsealed: %w", e.ID, err)
	}
	value := secret.NewValue(plain)
	if secret.Fingerprint(name, value) != e.ID {
		return secret.Value{}, fmt.Errorf("version %s holds another value than its id says", e.ID)
	}
	return value, nil
}

// sealContext binds a sealed value to its place, so that two of them can't be
// exchanged in their files.
func sealContext(name, id string) []byte { return []byte(name + "\x00" + id) }

// openKEK loads the key-encryption key's versions, or begins with one: a file
// that an interrupted start left, else a new one.
func (s *Store) openKEK() (keyring.Ring, error) {
	m, err := s.load(kekManifest)
	if errors.Is(err, fs.ErrNotExist) {
		m, err = s.firstKEK()
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	ring, err := m.ring(func(e entry) (secret.Value, error) { return s.readKEK(e.ID) })
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("%s: %w", filepath.Join(s.folder.path, kekManifest), err)
	}
	return ring, nil
}

func (s *Store) firstKEK() (manifest, error) {
	ids, err := s.folder.match("kek-", ".key")
	if err != nil {
		return manifest{}, err
	}
	m := manifest{Name: kekName}
	for _, id := range ids {
		if _, err := s.readKEK(id); err != nil {
			continue // not one of ours; nothing can have been sealed under it
		}
		v := first(id)
		if len(m.Versions) > 0 {
			// The manifest was lost, and with it which was which. All can open.
			v.State = keyring.Retiring
		}
		m.Versions = append(m.Versions, entry{Version: v})
	}
	if len(m.Versions) == 0 {
		value := random()
		id := secret.Fingerprint(kekName, value)
		text := base64.StdEncoding.EncodeToString(value.Reveal()) + "\n"
		if err := s.folder.write(kekFile(id), []byte(text)); err != nil {
			return manifest{}, err
		}
		m.Versions = []entry{{Version: first(id)}}
	}
	return m, s.save(kekManifest, m)
}

func (s *Store) readKEK(id string) (secret.Value, error) {
	text, err := s.folder.read(kekFile(id))
	if err != nil {
		return secret.Value{}, err
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return secret.Value{}, fmt.Errorf("%s: expected base64, found something else", kekFile(id))
	}
	value := secret.NewValue(raw)
	if secret.Fingerprint(kekName, value) != id {
		return secret.Value{}, fmt.Errorf("%s: holds another key than its name says", kekFile(id))
	}
	return value, nil
}

// SigningRing is the signing key's versions as they were when the folder was
// opened without Lazy. A version's id is the key's RFC 7638 thumbprint, its value
// PKCS #8 in PEM, for [keyway/internal/jwks].
func (s *Store) SigningRing() keyring.Ring { return s.signing }
