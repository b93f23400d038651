package redis_test

import (
	"fmt"
	"testing"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/storetest"
	"keyway/internal/testkit/redisserver"
)

// A group takes room for as long as its longest member, whoever joins when; what is
// over goes when the next one joins, and not before somebody asks.
func TestAGroupTakesNoMoreRoomThanItsMembers(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, server.URL())
	ctx, group := t.Context(), storetest.NewKey()
	join := func(ttl time.Duration) {
		t.Helper()
		if err := s.Join(ctx, storetest.NewKey(), []session.Key{group}, ttl); err != nil {
			t.Fatal(err)
		}
	}
	name := "test:g:" + group.String()
	number := func(command ...string) int64 {
		t.Helper()
		n, err := admin(t, server.URL(), command...).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	join(time.Hour)
	join(time.Minute)
	if left := number("PTTL", name); left < 59*60*1000 || left > 60*60*1000 {
		t.Errorf("the group goes in %d ms, want an hour", left)
	}
	for range 50 {
		join(time.Millisecond)
	}
	storetest.Eventually(t, "what is over goes at a join", func() bool {
		join(time.Millisecond)
		return number("ZCARD", name) <= 4
	})
	lonely := storetest.NewKey()
	if err := s.Join(ctx, storetest.NewKey(), []session.Key{lonely}, 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "an empty group is gone", func() bool { return number("EXISTS", fmt.Sprintf("test:g:%v", lonely)) == 0 })
}
