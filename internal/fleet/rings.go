package fleet

import (
	"context"
	"errors"
	"fmt"

	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// SealPurpose is the purpose to derive the sealer of NewRings for.
const SealPurpose = "fleet ring"

// Rings keeps rings on a board. It is safe for concurrent use.
//
// Each is sealed as a whole, with its name as context, so that who reads the
// store reads no key, and who writes it can't put one ring in another's place. It
// opens under any live version of the sealer's ring and is sealed under the
// active one with each write, so the key-encryption key can turn like any other:
// make new Rings with each generation's sealer, and see [Rings.Reseal].
type Rings struct {
	board Board
	seal  *seal.Sealer
}

// NewRings keeps rings on board, sealed by sealer.
func NewRings(board Board, sealer *seal.Sealer) *Rings { return &Rings{board: board, seal: sealer} }

// Load returns the fleet's ring and its revision; the zero Ring and Revision,
// without an error, when nobody has put one there. The errors are the board's,
// and those of seal.Sealer.Open: with keyring.ErrUnknownVersion it was sealed
// under a key that this replica has not loaded yet, or never will.
func (r *Rings) Load(ctx context.Context, name string) (keyring.Ring, Revision, error) {
	s, err := r.load(ctx, name)
	return s.document.Ring, s.revision, err
}

func (r *Rings) load(ctx context.Context, name string) (stored, error) {
	sealed, revision, err := r.board.Get(ctx, name)
	if err != nil {
		return stored{}, fmt.Errorf("fleet: reading the ring %s: %w", name, err)
	}
	if revision == "" {
		return stored{}, nil
	}
	document, err := r.open(name, sealed)
	if err != nil {
		return stored{}, err
	}
	version, _ := seal.VersionOf(sealed)
	return stored{document: document, revision: revision, sealedBy: version}, nil
}

// Save puts ring in the place of what Load found at revision (zero: nothing). It
// fails with ErrConflict when the fleet's ring has been changed since, and with a
// *SuccessionError when ring can't come after it. After another error it may
// have been saved.
func (r *Rings) Save(ctx context.Context, ring keyring.Ring, revision Revision) (Revision, error) {
	// Read again for what this release does not know. If that is of another
	// revision, comparing would fail later anyway.
	now, err := r.load(ctx, ring.Name())
	if err != nil {
		return "", err
	}
	if now.revision != revision {
		return "", fmt.Errorf("fleet: saving the ring %s: %w", ring.Name(), ErrConflict)
	}
	return r.save(ctx, now, ring)
}

func (r *Rings) save(ctx context.Context, now stored, ring keyring.Ring) (Revision, error) {
	name := ring.Name()
	if err := now.document.successor(ring); err != nil {
		return "", err
	}
	plain, err := now.document.With(ring).Encode()
	if err != nil {
		return "", fmt.Errorf("fleet: saving the ring %s: %w", name, err)
	}
	revision, err := r.board.CompareAndSet(ctx, name, now.revision, r.seal.Seal(plain, []byte(name)))
	if err != nil {
		return "", fmt.Errorf("fleet: saving the ring %s: %w", name, err)
	}
	return revision, nil
}

// Update has change move the fleet's ring on, again from what is there then
// whenever somebody else was faster, and returns the ring as it is afterwards.
// change is given the zero Ring when there is none; it returns ErrUnchanged when
// it sees that what it wants is there, and any other error to give up. It must
// not have effects of its own.
func (r *Rings) Update(ctx context.Context, name string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	for {
		now, err := r.load(ctx, name)
		if err != nil {
			return keyring.Ring{}, err
		}
		next, err := change(now.document.Ring)
		switch {
		case errors.Is(err, ErrUnchanged):
			return now.document.Ring, nil
		case err != nil:
			return keyring.Ring{}, err
		case next.Name() != name:
			return keyring.Ring{}, fmt.Errorf("fleet: updating the ring %s: expected a ring of that name, found %q", name, next.Name())
		}
		// Each conflict is somebody else's success, so this ends; ctx is for the
		// case that it does not.
		_, err = r.save(ctx, now, next)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, ErrConflict) {
			return keyring.Ring{}, err
		}
		if ctx.Err() != nil {
			return keyring.Ring{}, fmt.Errorf("fleet: updating the ring %s: %w", name, ctx.Err())
		}
	}
}

// Reseal seals the ring anew unless it is under the sealer's active version
// already, and reports whether it had to. When it has done so for every ring, a
// retiring version of the sealer's own ring protects nothing here any more.
func (r *Rings) Reseal(ctx context.Context, name string) (bool, error) {
	for {
		now, err := r.load(ctx, name)
		if err != nil {
			return false, err
		}
		if now.revision == "" || now.sealedBy == r.seal.ActiveVersion() {
			return false, nil
		}
		_, err = r.save(ctx, now, now.document.Ring)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return false, err
		}
	}
}

// Find returns the fleet's ring, or the zero Ring when nobody has put one there.
func (r *Rings) Find(ctx context.Context, name string) (keyring.Ring, error) {
	ring, _, err := r.Load(ctx, name)
	return ring, err
}

// Agree offers ring, and returns the one that the fleet has: ring, if it is the
// first, or what was there before.
func (r *Rings) Agree(ctx context.Context, ring keyring.Ring) (keyring.Ring, error) {
	return r.Update(ctx, ring.Name(), func(there keyring.Ring) (keyring.Ring, error) {
		if !there.IsZero() {
			return there, ErrUnchanged
		}
		return ring, nil
	})
}

func (r *Rings) open(name string, sealed []byte) (RingDocument, error) {
	plain, err := r.seal.Open(sealed, []byte(name))
	if err != nil {
		return RingDocument{}, fmt.Errorf("fleet: the ring %s in the shared store was sealed under another TOKEN_HASH_SALT: expected that of this replica; give every replica the same one (%w)", name, err)
	}
	document, err := ParseRingDocument(plain)
	if err == nil && document.Ring.Name() != name {
		err = fmt.Errorf("expected the ring %s, found %s", name, document.Ring.Name())
	}
	if err != nil {
		return RingDocument{}, fmt.Errorf("fleet: the ring %s in the shared store can't be read: %w", name, err)
	}
	return document, nil
}
