package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"keyway/internal/keyring"
)

// ErrForged says that an artefact is not one of ours, or was changed. It does
// not say how it was found out, so that it can't be used as an oracle.
var ErrForged = errors.New("seal: malformed or forged")

// derived is what a version of a ring became for one purpose.
type derived[K any] struct {
	active   string
	activeK  metered[K]
	byID     map[string]metered[K]
	retired  map[string]bool
	ringName string
}

// metered is a key, and what it was used for.
type metered[K any] struct {
	key  K
	uses *uses
}

// deriveAll derives one key for each live version of the ring.
func deriveAll[K any](ring keyring.Ring, purpose string, meter *Meter, build func(key []byte) (K, error)) (derived[K], error) {
	if ring.IsZero() {
		return derived[K]{}, fmt.Errorf("seal: the ring for %q is empty", purpose)
	}
	if purpose == "" || strings.ContainsRune(purpose, 0) {
		return derived[K]{}, errors.New("seal: a purpose must be non-empty and without NUL")
	}
	d := derived[K]{
		active:   ring.Active().ID,
		byID:     map[string]metered[K]{},
		retired:  map[string]bool{},
		ringName: ring.Name(),
	}
	for v := range ring.All() {
		if !v.State.Live() {
			d.retired[v.ID] = true
			continue
		}
		key, err := hkdf.Key(sha256.New, v.Value.Reveal(), nil, "keyway seal 1\x00"+purpose, 32)
		if err != nil {
			return derived[K]{}, fmt.Errorf("seal: %s: deriving a key: %w", ring.Name(), err)
		}
		built, err := build(key)
		if err != nil {
			return derived[K]{}, fmt.Errorf("seal: %s: %w", ring.Name(), err)
		}
		d.byID[v.ID] = metered[K]{built, meter.of(ring.Name(), v.ID)}
	}
	d.activeK = d.byID[d.active]
	return d, nil
}

// issue is the active key.
func (d *derived[K]) issue() K {
	d.activeK.uses.made.Add(1)
	return d.activeK.key
}

func (d *derived[K]) lookup(id string) (K, error) {
	if k, ok := d.byID[id]; ok {
		k.uses.checked.Add(1)
		return k.key, nil
	}
	var zero K
	if d.retired[id] {
		return zero, keyring.ErrRetired
	}
	return zero, keyring.ErrUnknownVersion
}
