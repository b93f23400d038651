package memory_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/memory"
	"keyway/internal/session/storetest"
)

// Who signs in over and over fills the groups no further than there is room, and takes
// nobody's place; what is over makes room again.
func TestGroupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := memory.Open(memory.Options{MaxItems: 2}) // 8 places
		defer s.Close()
		first, group := storetest.NewKey(), storetest.NewKey()
		if err := s.Join(ctx, first, []session.Key{group}, time.Minute); err != nil {
			t.Fatal(err)
		}
		for range 7 {
			if err := s.Join(ctx, storetest.NewKey(), []session.Key{group}, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		late := storetest.NewKey()
		if err := s.Join(ctx, late, []session.Key{group}, time.Minute); !errors.Is(err, memory.ErrFull) {
			t.Fatalf("one too many: %v, want ErrFull", err)
		}
		if keys, err := s.Members(ctx, group); err != nil || len(keys) != 8 {
			t.Errorf("%d members, %v; want 8", len(keys), err)
		}
		<-time.After(2 * time.Second) // nothing has swept yet
		if err := s.Join(ctx, late, []session.Key{group}, time.Minute); err != nil {
			t.Errorf("when others are over: %v", err)
		}
		if keys, err := s.Members(ctx, group); err != nil || len(keys) != 2 {
			t.Errorf("%d members, %v; want the first and the last", len(keys), err)
		}
	})
}
