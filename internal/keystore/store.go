package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// Options are the choices at the opening of a folder.
type Options struct {
	// Algorithm of a signing key that is made here: ES256 (when empty), PS256,
	// RS256 (both RSA of 3072 bits) or EdDSA. When set, an adopted key has to
	// fit, and is bound to it.
	Algorithm string
	// Adopt is a private key to begin with, as PEM or as the path of a PEM
	// file: BFF_JWT_SIGNING_KEY. Empty means that one is made. In a folder that
	// has keys already it changes nothing; see [Store.Notices].
	Adopt secret.Value

	step func(string) error // tests: told before and after each write
}

// Store is an open folder of keys. It is safe for concurrent use, and several
// Stores, in one process or many, may be open on one folder.
type Store struct {
	folder  folder
	signing keyring.Ring
	notices []string
}

// Open opens the folder, and makes or adopts the signing key if there is none.
// The folder is made with mode 0700; one that others can enter is refused with
// a *PermissionError, and so are files in it that others can read. Open waits
// up to 30 s for another process that is at work in the folder.
func Open(dir string, o Options) (*Store, error) {
	f, err := openFolder(dir, o.step)
	if err != nil {
		return nil, err
	}
	s := &Store{folder: f}
	err = f.locked(func() error {
		if err := f.checkFiles(); err != nil {
			return err
		}
		return s.openSigning(o)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// checkFiles refuses secret files that others can read, those that no manifest
// names among them.
func (f folder) checkFiles() error {
	for _, pattern := range [][2]string{{"signing-", ".pem"}, {"kek-", ".key"}, {"ring-", ".json"}} {
		ids, err := f.match(pattern[0], pattern[1])
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := f.read(pattern[0] + id + pattern[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Dir is the folder.
func (s *Store) Dir() string { return s.folder.path }

// SigningRing is the signing key's versions as they were when the folder was
// opened. A version's id is the key's RFC 7638 thumbprint, its value PKCS #8 in
// PEM, for [keyway/internal/jwks].
func (s *Store) SigningRing() keyring.Ring { return s.signing }

// Notices are sentences for the operator about what was found at the opening
// and did not stop it. They name no secret.
func (s *Store) Notices() []string { return s.notices }

// load reads and parses a manifest. The error is fs.ErrNotExist when there is
// none.
func (s *Store) load(name string) (manifest, error) {
	content, err := s.folder.read(name)
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(content)
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", filepath.Join(s.folder.path, name), err)
	}
	return m, nil
}

func (s *Store) save(name string, m manifest) error {
	content, err := m.encode()
	if err != nil {
		return err
	}
	return s.folder.write(name, content)
}

// writeIfChanged spares the disk, and the eyes of who watches the file.
func (s *Store) writeIfChanged(name string, content []byte) error {
	found, err := s.folder.read(name)
	switch {
	case err == nil && bytes.Equal(found, content):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !isPermission(err):
		return err
	}
	return s.folder.write(name, content)
}

// isPermission: a derived, public file with a loose mode is simply replaced.
func isPermission(err error) bool {
	_, ok := errors.AsType[*PermissionError](err)
	return ok
}
