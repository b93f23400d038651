package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/seal"
)

// KeyEncryptionKey is the ring that the others are sealed under, and the name of
// its entry.
const KeyEncryptionKey = "key-encryption-key"

// ringPurpose is what keys are derived for from the key-encryption key.
const ringPurpose = "fleet ring"

// ErrUnchanged is what a change in [Vault.Update] returns when there is nothing
// to do.
var ErrUnchanged = errors.New("fleet: the ring stays as it is")

// VaultOptions of OpenVault.
type VaultOptions struct {
	Board Board
	// Unseal are the values that this replica was given, newest first. Any one that
	// the key-encryption key is wrapped for is enough.
	Unseal []UnsealKey
	Log    *slog.Logger // may be nil
}

// Vault keeps rings on a board, sealed. It is safe for concurrent use.
//
// Each ring is sealed as a whole under the active version of the key-encryption
// key, with its name as context, so that who reads the store reads no key, and
// who writes it can't put one ring in another's place. The key-encryption key is
// a ring like any other, on the same board, and turns like any other: Add,
// Activate, [Vault.Reseal] of every ring, and Retire once [Vault.SealedUnder]
// counts none. Its own entry is wrapped for each unseal key, so a replica that has
// any one of them opens everything.
//
// The vault remembers each version of the key-encryption key that it has seen.
// When the store falls back to an earlier state, or to none, the next write or
// [Vault.Restore] puts back what it lost.
type Vault struct {
	board Board
	log   *slog.Logger

	mu    sync.Mutex
	given []UnsealKey             // at opening, and by Admit
	known kekDocument             // the latest state
	keys  map[string]*seal.Sealer // by version that was ever live here, but for those that were ended as compromised
	names map[string]bool         // of the rings that were found
	read  map[string]stored       // by name: what was opened last, not to open the same again
	kek   kekRead
}

// OpenVault reads the key-encryption key, or makes the fleet's first one, wrapped
// for all of Unseal. It does not admit keys to one that is there: a value that was
// dismissed may still be handed in somewhere. The error is a *SealedError when
// none of Unseal opens it.
func OpenVault(ctx context.Context, o VaultOptions) (*Vault, error) {
	v := &Vault{
		board: o.Board, log: o.Log, given: slices.Clone(o.Unseal),
		keys: map[string]*seal.Sealer{}, names: map[string]bool{}, read: map[string]stored{},
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if len(o.Unseal) == 0 {
		return nil, fmt.Errorf("fleet: expected a value to unseal the %s with, found none; hand in TOKEN_HASH_SALT", KeyEncryptionKey)
	}
	for {
		there, err := v.readKEK(ctx)
		if err != nil || there.revision != "" {
			return v, err
		}
		first, err := firstKEK(o.Unseal, time.Now())
		if err != nil {
			return nil, err
		}
		if err = v.writeKEK(ctx, first, ""); err == nil {
			return v, nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// Load returns the fleet's ring and its revision; the zero Ring and Revision,
// without an error, when nobody has put one there. It does not change the store.
// The errors are the board's, *SealedError, and those of seal.Sealer.Open: with
// keyring.ErrUnknownVersion or keyring.ErrRetired it was sealed under a version of
// the key-encryption key that the fleet does not have any more.
func (v *Vault) Load(ctx context.Context, name string) (keyring.Ring, Revision, error) {
	if name == KeyEncryptionKey {
		there, err := v.readKEK(ctx)
		return there.document.ring.Ring, there.revision, err
	}
	s, err := v.load(ctx, name)
	return s.document.Ring, s.revision, err
}

// Update has change move the fleet's ring on, again from what is there then
// whenever somebody else was faster, and returns the ring as it is afterwards.
// change is given the zero Ring when there is none; it returns ErrUnchanged when
// it sees that what it wants is there, and any other error to give up. It must
// not have effects of its own. A *SuccessionError says that what it made can't
// come after what is there. After another error of the board it may have been
// saved.
func (v *Vault) Update(ctx context.Context, name string, change func(keyring.Ring) (keyring.Ring, error)) (keyring.Ring, error) {
	if name == KeyEncryptionKey {
		d, err := v.changeKEK(ctx, func(d *kekDocument, _ uint64) error {
			next, err := change(d.ring.Ring)
			if err == nil {
				err = named(next, name)
			}
			if err == nil {
				d.ring = d.ring.With(next)
			}
			return err
		})
		return d.ring.Ring, err
	}
	var result keyring.Ring
	_, err := v.save(ctx, name, func(now stored, _ string) (keyring.Ring, error) {
		next, err := change(now.document.Ring)
		if errors.Is(err, ErrUnchanged) {
			result = now.document.Ring
			return result, err
		}
		if err == nil {
			err = named(next, name)
		}
		result = next
		return next, err
	})
	if err != nil {
		return keyring.Ring{}, err
	}
	return result, nil
}

func named(ring keyring.Ring, name string) error {
	if ring.Name() != name {
		return fmt.Errorf("fleet: updating the ring %s: expected a ring of that name, found %q", name, ring.Name())
	}
	return nil
}

// Reseal seals the ring anew unless it is under the active version of the
// key-encryption key already, and reports whether it had to.
func (v *Vault) Reseal(ctx context.Context, name string) (bool, error) {
	if name == KeyEncryptionKey {
		return false, nil // each write of it has a key of its own
	}
	return v.save(ctx, name, func(now stored, active string) (keyring.Ring, error) {
		if now.revision == "" || now.sealedBy == active {
			return now.document.Ring, ErrUnchanged
		}
		return now.document.Ring, nil
	})
}

// SealedUnder counts the rings among names by the version of the key-encryption
// key that they are sealed under. A version that is not in it protects none of
// them.
func (v *Vault) SealedUnder(ctx context.Context, names []string) (map[string]int, error) {
	count := map[string]int{}
	for _, name := range names {
		if name == KeyEncryptionKey {
			continue
		}
		sealed, revision, err := v.board.Get(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("fleet: reading the ring %s: %w", name, err)
		}
		if revision == "" {
			continue
		}
		id, ok := seal.VersionOf(sealed)
		if !ok {
			return nil, fmt.Errorf("fleet: the ring %s in the shared store can't be read: %w", name, seal.ErrForged)
		}
		count[id]++
	}
	return count, nil
}

// SealedError says that this replica was given none of the values that open the
// rings in the store. It has ids only.
type SealedError struct {
	Wraps []string // any one of these would do
	Given []string
}

func (e *SealedError) Error() string {
	return fmt.Sprintf("fleet: the rings in the shared store are sealed under %s, and this replica was given %s: hand it one of those too "+
		"(of TOKEN_HASH_SALT: the value that the other replicas have, beside the new one, as TOKEN_HASH_SALT_PREVIOUS; of a data folder: put its root-*.key back), "+
		"or let a running replica that has one take in the new value first",
		strings.Join(e.Wraps, " or "), strings.Join(e.Given, " and "))
}
