package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"keyway/internal/jwks"
	"keyway/internal/secret"
)

const (
	signingName     = "signing-key"
	signingManifest = "signing-key.json"
	publicFile      = "jwks.json"
	// newRSABits is the size of RSA keys made here: 128 bits of strength, good
	// past 2030 (NIST SP 800-57 part 1, table 2).
	newRSABits = 3072
)

func pemFile(id string) string { return "signing-" + id + ".pem" }

// openSigning loads the signing key's versions, or begins with one.
func (s *Store) openSigning(o Options) error {
	adopted, err := readAdopted(o)
	if err != nil {
		return fmt.Errorf("BFF_JWT_SIGNING_KEY: %w", err)
	}
	m, err := s.load(signingManifest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m, err = s.firstSigning(o, adopted); err != nil {
			return err
		}
	case err != nil:
		return err
	case !adopted.IsZero() && !m.holds(adopted.ID()):
		s.notices = append(s.notices, fmt.Sprintf(
			"BFF_JWT_SIGNING_KEY holds a key (%s) that is not one of those in %s; it was not adopted, because it is meant for a folder without keys",
			adopted.ID(), s.folder.path))
	}
	s.signing, err = m.ring(s.signingValue)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(s.folder.path, signingManifest), err)
	}
	public, err := jwks.Document(s.signing)
	if err != nil {
		return err
	}
	return s.writeIfChanged(publicFile, public)
}

// firstSigning writes the first key: the one handed in, else one that an
// interrupted start left behind, else a new one. The key's file comes first:
// until the manifest names it, nothing has changed.
func (s *Store) firstSigning(o Options, key jwks.Key) (manifest, error) {
	if key.IsZero() {
		var err error
		if key, err = s.orphan(o); err != nil {
			return manifest{}, err
		}
	}
	if key.IsZero() {
		var err error
		if key, err = newKey(o.Algorithm); err != nil {
			return manifest{}, err
		}
	}
	if err := key.Prove(); err != nil {
		return manifest{}, fmt.Errorf("signing key: %w", err)
	}
	text, err := key.PEM()
	if err != nil {
		return manifest{}, err
	}
	if err := s.writeIfChanged(pemFile(key.ID()), text.Reveal()); err != nil {
		return manifest{}, err
	}
	m := first(signingName, entry{ID: key.ID(), Alg: key.Algorithm()})
	return m, s.save(signingManifest, m)
}

// orphan finds the newest key file, in a folder without a manifest, that holds
// the key that its name says and suits the options.
func (s *Store) orphan(o Options) (jwks.Key, error) {
	ids, err := s.folder.match("signing-", ".pem")
	if err != nil {
		return jwks.Key{}, err
	}
	for _, id := range ids {
		key, err := s.readKey(id, o.Algorithm)
		if err == nil {
			s.notices = append(s.notices, fmt.Sprintf(
				"%s was there without a manifest, as an interrupted first start leaves it; it is in use now", pemFile(id)))
			return key, nil
		}
		s.notices = append(s.notices, fmt.Sprintf("%s was left alone: %v", pemFile(id), err))
	}
	return jwks.Key{}, nil
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
	if err := key.Prove(); err != nil {
		return secret.Value{}, err
	}
	return key.RingValue()
}

// newKey makes a key for an algorithm.
func newKey(algorithm string) (jwks.Key, error) {
	var signer crypto.Signer
	var err error
	switch algorithm {
	case "", jwks.ES256:
		algorithm = jwks.ES256
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwks.EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case jwks.PS256, jwks.RS256:
		signer, err = rsa.GenerateKey(rand.Reader, newRSABits)
	default:
		return jwks.Key{}, fmt.Errorf("signing key: expected an algorithm of ES256, PS256, RS256 or EdDSA, found %.20q", algorithm)
	}
	if err != nil {
		return jwks.Key{}, fmt.Errorf("signing key: making one for %s: %w", algorithm, err)
	}
	key, err := jwks.NewKey(signer)
	if err != nil {
		return jwks.Key{}, err
	}
	return key.Bind(algorithm)
}

// readAdopted reads the key handed in, if there is one. Errors never show the
// value: it may be a key that merely is not PEM.
func readAdopted(o Options) (jwks.Key, error) {
	text := bytes.TrimSpace(o.Adopt.Reveal())
	if len(text) == 0 {
		return jwks.Key{}, nil
	}
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		content, err := readPath(string(text))
		if err != nil {
			return jwks.Key{}, err
		}
		text = content
	} else if !bytes.ContainsRune(text, '\n') {
		// One line with \n in it: what is left of a PEM in many .env files.
		text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	}
	key, err := jwks.ParseKey(secret.NewValue(text))
	if err != nil {
		return jwks.Key{}, err
	}
	if o.Algorithm != "" {
		return key.Bind(o.Algorithm)
	}
	return key, nil
}

func readPath(path string) ([]byte, error) {
	looksLikePath := len(path) < 1024 && !strings.ContainsAny(path, "\n\r=+") &&
		(strings.HasPrefix(path, "/") || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".pem") || strings.HasSuffix(path, ".key"))
	if !looksLikePath {
		return nil, errors.New("expected a PEM private key, or the path of one (beginning with / or ., or ending in .pem or .key), found neither")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, err
	}
	return content, nil
}
