package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// stored is what is on the board under a name.
type stored struct {
	document RingDocument
	revision Revision // zero: nothing
	sealedBy string   // the version of the key-encryption key
	sealed   []byte   // as it is on the board
}

func (v *Vault) load(ctx context.Context, name string) (stored, error) {
	tried := Revision("")
	for {
		sealed, revision, err := v.board.Get(ctx, name)
		if err != nil {
			return stored{}, fmt.Errorf("fleet: reading the ring %s: %w", name, err)
		}
		if revision == "" {
			return stored{}, nil
		}
		if s, ok := v.opened(name, sealed); ok {
			s.revision = revision
			return s, nil
		}
		s, err := v.open(name, sealed)
		s.revision = revision
		over := errors.Is(err, keyring.ErrUnknownVersion) || errors.Is(err, keyring.ErrRetired)
		if !over || revision == tried {
			return s, err
		}
		// It may be a version that is new to this replica. If it isn't, what is there
		// may have been sealed anew since it was read, so look again at that, too.
		tried = revision
		if _, err := v.readKEK(ctx); err != nil {
			return stored{}, err
		}
	}
}

// opened is what the same bytes opened to before: rings are read far more often than
// they change. It counts for as long as what they are sealed under does.
func (v *Vault) opened(name string, sealed []byte) (stored, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := v.read[name]
	return s, ok && v.keys[s.sealedBy] != nil && bytes.Equal(s.sealed, sealed)
}

func (v *Vault) open(name string, sealed []byte) (stored, error) {
	fail := func(err error) (stored, error) {
		return stored{}, fmt.Errorf("fleet: the ring %s in the shared store can't be read: %w", name, err)
	}
	id, ok := seal.VersionOf(sealed)
	if !ok || !keyring.IsID(id) {
		return fail(seal.ErrForged)
	}
	v.mu.Lock()
	sealer := v.keys[id]
	version, known := v.known.ring.Ring.Find(id)
	v.mu.Unlock()
	if sealer == nil {
		err := keyring.ErrUnknownVersion
		if known && !version.State.Live() {
			err = keyring.ErrRetired
		}
		return fail(fmt.Errorf("it was sealed under version %s of the %s, which the fleet does not have (any more): %w", id, KeyEncryptionKey, err))
	}
	plain, err := sealer.Open(sealed, []byte(name))
	if err != nil {
		return fail(err)
	}
	document, err := ParseRingDocument(plain)
	if err == nil && document.Ring.Name() != name {
		err = fmt.Errorf("expected the ring %s, found %s", name, document.Ring.Name())
	}
	if err != nil {
		return fail(err)
	}
	v.mu.Lock()
	v.names[name] = true
	s := stored{document: document, sealedBy: id, sealed: sealed}
	v.read[name] = s
	v.mu.Unlock()
	return s, nil
}

// save writes what next makes of what is there, until nobody else was faster, and
// reports whether anything was written.
//
// The order is what keeps every entry readable: first the entry is read, then the
// key-encryption key. If the fleet moves to another version after that, it seals
// this entry anew before it retires the one that is used here, and so this write
// conflicts.
func (v *Vault) save(ctx context.Context, name string, next func(now stored, active string) (keyring.Ring, error)) (bool, error) {
	for {
		now, err := v.load(ctx, name)
		if err != nil {
			return false, err
		}
		kek, err := v.changeKEK(ctx, nil)
		if err != nil {
			return false, err
		}
		active := kek.ring.Ring.Active().ID
		ring, err := next(now, active)
		if errors.Is(err, ErrUnchanged) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := now.document.successor(ring); err != nil {
			return false, err
		}
		plain, err := now.document.With(ring).Encode()
		if err != nil {
			return false, fmt.Errorf("fleet: saving the ring %s: %w", name, err)
		}
		_, err = v.board.CompareAndSet(ctx, name, now.revision, v.sealer(active).Seal(plain, []byte(name)))
		switch {
		case err == nil && now.revision == "":
			return true, v.check(ctx, name, active)
		case err == nil:
			return true, nil
		case !errors.Is(err, ErrConflict):
			return false, fmt.Errorf("fleet: saving the ring %s: %w", name, err)
		case ctx.Err() != nil:
			// Each conflict is somebody else's success, so this ends; ctx is for the case
			// that it does not.
			return false, fmt.Errorf("fleet: saving the ring %s: %w", name, ctx.Err())
		}
	}
}

// check is for a ring that was not there when those were counted and sealed anew
// that depend on a version: if that was retired meanwhile, it is sealed anew now.
func (v *Vault) check(ctx context.Context, name, sealedBy string) error {
	kek, err := v.changeKEK(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := kek.ring.Ring.Lookup(sealedBy); err == nil {
		return nil
	}
	_, err = v.Reseal(ctx, name)
	return err
}

func (v *Vault) sealer(version string) *seal.Sealer {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys[version]
}
