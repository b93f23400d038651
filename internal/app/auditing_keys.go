package app

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"sync"
	"time"

	"keyway/internal/audit"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

const (
	// purposeEntry is what the keys of entries in the record are derived for.
	purposeEntry = "keyway audit entry 1"
	// entryKeyFor is how long entries under a version that has ended are taken: whoever
	// wrote one may not have heard of that.
	entryKeyFor = time.Minute
	// askAgain is how often it is looked whether the fleet has an unknown version.
	askAgain = time.Second
)

// entryKeys authenticate entries in the record with keys that are derived from the
// signing keys' values, which every replica has and nobody else. They are safe for
// concurrent use.
type entryKeys struct {
	ring func() keyring.Ring
	load func(context.Context) (keyring.Ring, error) // from the vault, where this replica may be behind

	mu    sync.Mutex
	known map[string]*entryKey // by version
	asked time.Time
}

type entryKey struct {
	key  secret.Value
	seen time.Time // when it was last live
}

var _ audit.Keys = (*entryKeys)(nil)

// entryKeys are of the signing keys.
func (a *app) entryKeys() *entryKeys {
	return &entryKeys{
		ring: func() keyring.Ring { return a.current.Load().rings[nameSigningKey] },
		load: func(ctx context.Context) (keyring.Ring, error) {
			ring, _, err := a.vault.Load(ctx, nameSigningKey)
			return ring, err
		},
	}
}

// Active implements audit.Keys.
func (k *entryKeys) Active() (version string, key secret.Value, err error) {
	ring := k.ring()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.learn(ring); err != nil {
		return "", secret.Value{}, err
	}
	version = ring.Active().ID
	return version, k.known[version].key, nil
}

// Key implements audit.Keys.
func (k *entryKeys) Key(ctx context.Context, version string) (secret.Value, bool) {
	ring := k.ring()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.learn(ring) != nil {
		return secret.Value{}, false
	}
	if k.known[version] == nil && keyring.IsID(version) && time.Since(k.asked) >= askAgain {
		newer, err := k.load(ctx)
		if err != nil || newer.IsZero() || k.learn(newer) != nil {
			return secret.Value{}, false
		}
		k.asked = time.Now()
	}
	if found := k.known[version]; found != nil {
		return found.key, true
	}
	return secret.Value{}, false
}

// learn takes up what is live in a ring, and forgets what has ended for a while.
func (k *entryKeys) learn(ring keyring.Ring) error {
	now := time.Now()
	if k.known == nil {
		k.known = map[string]*entryKey{}
	}
	for v := range ring.Live() {
		if found := k.known[v.ID]; found != nil {
			found.seen = now
			continue
		}
		key, err := hkdf.Key(sha256.New, v.Value.Reveal(), nil, purposeEntry, sha256.Size)
		if err != nil {
			return err
		}
		k.known[v.ID] = &entryKey{secret.NewValue(key), now}
	}
	for id, found := range k.known {
		if now.Sub(found.seen) > entryKeyFor {
			delete(k.known, id)
		}
	}
	return nil
}
