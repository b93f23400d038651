package app

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"keyway/internal/config"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/secret/source"
)

// Names of the secrets, as rotations, metrics and commands call them.
const (
	nameTokenHashSalt = "token-hash-salt"
	nameSessionKey    = "session-key"
	nameUAHashSalt    = "ua-hash-salt"
	nameCSRFKey       = "csrf-key"
	nameStateKey      = "state-key"
	nameSigningKey    = "signing-key"
	nameDPoPKey       = "dpop-key"
	nameClientSecret  = "client-secret"
	namePDPSecret     = "pdp-client-secret"
)

// clientSecretOf is the name of our client secret at an entry of idps.yaml.
func clientSecretOf(idp string) string { return nameClientSecret + "/" + idp }

// isOutward reports whether it is peers who refuse what is done with a secret.
func isOutward(name string) bool {
	return name == nameSigningKey || name == nameClientSecret || name == namePDPSecret || strings.HasPrefix(name, clientSecretOf(""))
}

// definition is one secret of a configuration. A new kind of secret is one more
// of them, and what it is for in package rotation's terms (turning.go).
type definition struct {
	name string
	ref  config.SecretRef // where it is handed in
	peer bool             // a peer chose the value, so it is as strong as that peer's are
	need need
	ids  *fingerprints
}

// need is whether a start is refused without a secret.
type need int

const (
	optional      need = iota
	unlessManaged      // Keyway makes it, if it was told to
	always
)

// definitions are the secrets of a configuration, in the order in which they are
// shown and opened.
func definitions(c *config.Config) []definition {
	sources, ids := c.SecretSources, &fingerprints{}
	salt := unlessManaged
	if !c.Store.RedisURL.IsZero() {
		// Replicas find each other's sessions by it, and it opens what they share.
		salt = always
	}
	all := []definition{
		{nameTokenHashSalt, sources.TokenHashSalt, false, salt, ids},
		{nameSessionKey, sources.SessionKey, false, optional, ids},
		{nameUAHashSalt, sources.UAHashSalt, false, unlessManaged, ids},
		{nameCSRFKey, sources.CSRFSecretKey, false, unlessManaged, ids},
		{nameStateKey, sources.StateTokenKey, false, unlessManaged, ids},
		{nameSigningKey, config.SecretRef{}, false, optional, ids},
		{nameClientSecret, c.OIDC.ClientSecret, true, optional, ids},
	}
	if bindsTokens(c) {
		all = append(all, definition{nameDPoPKey, config.SecretRef{}, false, optional, ids})
	}
	for _, idp := range c.IdPs {
		if !idp.ClientSecret.IsZero() {
			all = append(all, definition{clientSecretOf(idp.Name), idp.ClientSecret, true, optional, ids})
		}
	}
	if usesPDPSecret(c) {
		all = append(all, definition{namePDPSecret, pdpSecret(c.PDP), true, optional, ids})
	}
	return append(all, definition{fleet.KeyEncryptionKey, config.SecretRef{}, false, optional, ids})
}

// bindsTokens reports whether access tokens are bound to a key of ours.
func bindsTokens(c *config.Config) bool {
	return c.OIDC.Issuer != "" && c.OIDC.DPoP == config.SwitchOn
}

// candidate is a value that was found where the secret is handed in.
func (d definition) candidate(value secret.Value) keyring.Candidate {
	return keyring.Candidate{ID: d.fingerprint(value), Value: value, HandedIn: true}
}

func (d definition) fingerprint(value secret.Value) string {
	if d.peer {
		return d.ids.of(d.name, value)
	}
	return secret.Fingerprint(d.name, value)
}

// fingerprints remembers those of peers' secrets: each costs a tenth of a second
// of a processor, and is asked for wherever the value turns up. One is computed at
// a time, so that requests have the other processors.
type fingerprints struct {
	mu   sync.Mutex
	last []fingerprint // newest first
}

type fingerprint struct {
	name, id string
	value    secret.Value
}

func (f *fingerprints) of(name string, value secret.Value) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, known := range f.last {
		if known.name == name && known.value.Equal(value) {
			return known.id
		}
	}
	id := secret.FingerprintOfPeerSecret(name, value)
	f.last = slices.Insert(f.last, 0, fingerprint{name, id, value})
	f.last = f.last[:min(len(f.last), 32)]
	return id
}

// check refuses a value that can't be used.
func (d definition) check(value secret.Value) error {
	if d.peer {
		return checkPrintable(cmp.Or(d.ref.Name, d.name), value)
	}
	return secret.CheckStrength(cmp.Or(d.ref.Name, d.name), value)
}

// checkPrintable refuses what can't be a client secret (RFC 6749 appendix A.2),
// such as a file of another kind in its place. Its error does not show the value.
func checkPrintable(name string, value secret.Value) error {
	for _, b := range value.Reveal() {
		if b < 0x20 || b == 0x7f {
			return fmt.Errorf("%s: expected printable characters in one line, found a control character or a line break; is it another kind of file?", name)
		}
	}
	return nil
}

// handedIn reports whether it can be handed in at all.
func (d definition) handedIn() bool { return !d.ref.IsZero() }

// watched is how package source looks for it.
func (d definition) watched() source.Secret {
	s := source.Secret{Name: d.name, Check: d.check}
	if d.ref.Kind == config.SecretFile {
		s.File = d.ref.Name
	} else {
		s.Variable = d.ref.Name
	}
	return s
}

// randomSecret is what Keyway makes where nothing is handed in: 48 random bytes,
// what `openssl rand 48` gives, well over the 32 demanded of others'.
func randomSecret(name string) keyring.Candidate {
	b := make([]byte, 48)
	rand.Read(b) //nolint:errcheck // never fails
	value := secret.NewValue(b)
	return keyring.Candidate{ID: secret.Fingerprint(name, value), Value: value}
}

// firstRing is the ring that begins with a version.
func firstRing(name string, first keyring.Candidate, previous *keyring.Candidate, now time.Time) (keyring.Ring, error) {
	ring, err := keyring.New(name, keyring.Version{
		ID: first.ID, State: keyring.Active, CreatedAt: now, ActivatedAt: now, Value: first.Value, HandedIn: first.HandedIn,
	})
	if err == nil && previous != nil && previous.ID != first.ID {
		ring, err = ring.Accept(*previous, now)
	}
	return ring, err
}

// rings are the secrets that a generation is built from, by name. They are not
// changed once they are published.
type rings map[string]keyring.Ring

var _ slog.LogValuer = rings(nil)

// LogValue keeps rings from being logged by accident.
func (r rings) LogValue() slog.Value { return slog.StringValue("rings") }

// with is a copy with another ring in it.
func (r rings) with(ring keyring.Ring) rings {
	next := maps.Clone(r)
	next[ring.Name()] = ring
	return next
}

// all are the rings in the order of the definitions.
func (r rings) all(defs []definition) []keyring.Ring {
	var all []keyring.Ring
	for _, d := range defs {
		if ring := r[d.name]; !ring.IsZero() {
			all = append(all, ring)
		}
	}
	return all
}

func find(defs []definition, name string) (definition, bool) {
	i := slices.IndexFunc(defs, func(d definition) bool { return d.name == name })
	if i < 0 {
		return definition{}, false
	}
	return defs[i], true
}
