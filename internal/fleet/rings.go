package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/secret"
)

// Board is a place that all replicas can read.
type Board interface {
	// Get returns nil, without an error, when there is nothing under the name.
	Get(ctx context.Context, name string) ([]byte, error)
	// PutIfAbsent stores value unless there is something already, and returns
	// what is there afterwards.
	PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error)
}

// Rings agrees on rings through a board. It is safe for concurrent use.
type Rings struct {
	board Board
	seal  *seal.Sealer
}

// SealPurpose is the purpose to derive the sealer of NewRings for.
const SealPurpose = "fleet ring"

// NewRings agrees on rings through board; what is on it is sealed, so that who
// reads the store reads no key.
func NewRings(board Board, sealer *seal.Sealer) *Rings { return &Rings{board: board, seal: sealer} }

type storedRing struct {
	Versions []storedVersion `json:"versions"`
}

type storedVersion struct {
	ID          string        `json:"id"`
	State       keyring.State `json:"state"`
	CreatedAt   time.Time     `json:"created_at,omitzero"`
	ActivatedAt time.Time     `json:"activated_at,omitzero"`
	RetiresAt   time.Time     `json:"retires_at,omitzero"`
	Value       []byte        `json:"value,omitempty"`
}

// Find returns the fleet's ring, or the zero Ring when nobody has put one there.
func (r *Rings) Find(ctx context.Context, name string) (keyring.Ring, error) {
	sealed, err := r.board.Get(ctx, name)
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("fleet: reading the ring %s: %w", name, err)
	}
	if sealed == nil {
		return keyring.Ring{}, nil
	}
	return r.open(name, sealed)
}

// Agree offers ring, and returns the one that the fleet has: ring, if it is the
// first, or what was there before.
func (r *Rings) Agree(ctx context.Context, ring keyring.Ring) (keyring.Ring, error) {
	var stored storedRing
	for v := range ring.All() {
		stored.Versions = append(stored.Versions, storedVersion{
			ID: v.ID, State: v.State, CreatedAt: v.CreatedAt, ActivatedAt: v.ActivatedAt, RetiresAt: v.RetiresAt, Value: v.Value.Reveal(),
		})
	}
	plain, err := json.Marshal(stored)
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("fleet: %w", err)
	}
	name := ring.Name()
	sealed, err := r.board.PutIfAbsent(ctx, name, r.seal.Seal(plain, []byte(name)))
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("fleet: offering the ring %s: %w", name, err)
	}
	return r.open(name, sealed)
}

func (r *Rings) open(name string, sealed []byte) (keyring.Ring, error) {
	plain, err := r.seal.Open(sealed, []byte(name))
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("fleet: the ring %s in the shared store was sealed under another TOKEN_HASH_SALT: expected that of this replica; give every replica the same one (%w)", name, err)
	}
	var stored storedRing
	if err := json.Unmarshal(plain, &stored); err != nil {
		return keyring.Ring{}, fmt.Errorf("fleet: the ring %s in the shared store can't be read", name)
	}
	versions := make([]keyring.Version, len(stored.Versions))
	for i, v := range stored.Versions {
		versions[i] = keyring.Version{
			ID: v.ID, State: v.State, CreatedAt: v.CreatedAt, ActivatedAt: v.ActivatedAt, RetiresAt: v.RetiresAt,
		}
		if len(v.Value) > 0 {
			versions[i].Value = secret.NewValue(v.Value)
		}
	}
	return keyring.New(name, versions...)
}
