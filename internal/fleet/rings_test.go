package fleet

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"keyway/internal/keyring"
	"keyway/internal/seal"
	"keyway/internal/secret"
	"keyway/internal/session/redis"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/redisserver"
)

func ringOf(t *testing.T, name, id, value string) keyring.Ring {
	t.Helper()
	ring, err := keyring.New(name, keyring.Version{ID: id, State: keyring.Active, Value: secret.NewValue([]byte(value))})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func sealerFor(t *testing.T, salt string) *seal.Sealer {
	t.Helper()
	sealer, err := seal.NewSealer(ringOf(t, "token-hash-salt", "s1", salt), SealPurpose)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func TestReplicasThatComeAtOnceEndWithOneRing(t *testing.T) {
	parts.Need(t, parts.Redis)
	server := redisserver.Start(t)
	store, err := redis.Open(t.Context(), redis.Options{URL: secret.NewValue([]byte(server.URL()))})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	const salt = "the salt that every replica has, 32+"
	ctx := t.Context()

	if ring, err := NewRings(store.Board(), sealerFor(t, salt)).Find(ctx, "session-key"); err != nil || !ring.IsZero() {
		t.Fatalf("an empty board: %v, %v", ring, err)
	}
	got := make([]string, 16)
	var group sync.WaitGroup
	for i := range got {
		group.Go(func() {
			rings := NewRings(store.Board(), sealerFor(t, salt))
			ring, err := rings.Agree(ctx, ringOf(t, "session-key", fmt.Sprintf("v%d", i), fmt.Sprintf("value %d", i)))
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = ring.Active().ID + "=" + string(ring.Active().Value.Reveal())
		})
	}
	group.Wait()
	for _, g := range got {
		if g != got[0] || g == "" {
			t.Fatalf("replicas disagree: %v", got)
		}
	}

	stored, err := store.Board().Get(ctx, "session-key")
	if err != nil || bytes.Contains(stored, []byte("value")) {
		t.Errorf("the store can read the ring: %q, %v", stored, err)
	}
	_, err = NewRings(store.Board(), sealerFor(t, "another salt, of 32 bytes and more..")).
		Find(ctx, "session-key")
	if err == nil || !strings.Contains(err.Error(), "TOKEN_HASH_SALT") {
		t.Errorf("another salt: %v", err)
	}
}
