package keystore

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"keyway/internal/secret"
)

// Options are the choices at the opening of a folder.
type Options struct {
	// Algorithm of a signing key that is made here: ES256 (when empty), PS256,
	// RS256 (both RSA of 3072 bits) or EdDSA. When set, an adopted key has to
	// fit, and is bound to it.
	Algorithm string
	// Adopt is a private key to begin with, as PEM or as the path of a PEM
	// file: BFF_JWT_SIGNING_KEY; see [Store.FirstSigning]. Empty means that one is
	// made. In a folder that has keys already it changes nothing; see
	// [Store.Notices].
	Adopt secret.Value

	step func(string) error // tests: told before and after each write
}

// maxNotices bounds what is remembered for the operator.
const maxNotices = 100

// Store is an open folder of keys. It is safe for concurrent use, and several
// Stores, in one process or many, may be open on one folder.
type Store struct {
	folder  folder
	options Options

	mu      sync.Mutex
	notices []string
	proved  map[string][sha256.Size]byte // keys that have, by id, with a hash of the value
}

// Open opens the folder, and makes no key: [Store.FirstSigning] and
// [Store.RootKeys] do. The folder is made with mode 0700; one that others can
// enter is refused with a *PermissionError, and so are files in it that others can
// read. Open waits up to 30 s for another process that is at work in the folder,
// and so does all that writes.
func Open(dir string, o Options) (*Store, error) {
	f, err := openFolder(dir, o.step)
	if err != nil {
		return nil, err
	}
	s := &Store{folder: f, options: o, proved: map[string][sha256.Size]byte{}}
	if err := f.locked(f.checkFiles); err != nil {
		return nil, err
	}
	return s, nil
}

// checkFiles refuses secret files that others can read, those that no manifest
// names among them.
func (f folder) checkFiles() error {
	for _, pattern := range [][2]string{{"signing-", ".pem"}, {"root-", ".key"}} {
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

// Notices are sentences for the operator about what was found in the folder since
// it was opened, and stopped nothing: each once, the first hundred. They name no
// secret.
func (s *Store) Notices() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notices)
}

func (s *Store) notice(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if len(s.notices) < maxNotices && !slices.Contains(s.notices, text) {
		s.notices = append(s.notices, text)
	}
}

// load reads and parses a manifest. The error is fs.ErrNotExist when there is
// none.
func (s *Store) load(name string) (manifest, error) {
	content, err := s.folder.read(name)
	if err != nil {
		return manifest{}, err
	}
	return s.parse(name, content)
}

func (s *Store) parse(name string, content []byte) (manifest, error) {
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
	return s.writeIfChanged(name, content)
}

// writeIfChanged spares the disk, and the eyes of who watches the file.
func (s *Store) writeIfChanged(name string, content []byte) error {
	found, err := s.folder.read(name)
	switch {
	case err == nil && bytes.Equal(found, content):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return s.folder.Write(name, content)
}

// random is a key of 48 bytes: what `openssl rand 48` gives, well over
// the 32 bytes demanded of others'.
func random() secret.Value {
	b := make([]byte, 48)
	rand.Read(b)
	return secret.NewValue(b)
}
