package redis_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/testkit/redisserver"
)

func TestBoardConformance(t *testing.T) {
	server := redisserver.Start(t)
	board := func(t *testing.T) interface {
		fleet.Board
		fleet.Register
	} {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, server.URL()).Board()
	}
	fleettest.RunBoard(t, func(t *testing.T) fleet.Board { return board(t) })
	fleettest.RunRegister(t, func(t *testing.T) fleet.Register { return board(t) })
	fleettest.RunWatcher(t, func(t *testing.T) fleettest.WatchedBoard {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, server.URL()).Board()
	})
}

// The scripts' keys lie in one slot of a cluster.
func TestBoardOnACluster(t *testing.T) {
	server := redisserver.Start(t, redisserver.Args("--cluster-enabled", "yes"))
	admin(t, server.URL(), "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	fleettest.Eventually(t, "the cluster is formed", func() bool {
		info, _ := admin(t, server.URL(), "CLUSTER", "INFO").ToString()
		return strings.Contains(info, "cluster_state:ok")
	})
	board := open(t, server.URL()+"?addr="+server.Addr()).Board()
	if _, err := board.CompareAndSet(t.Context(), "session-key", "", []byte("ring")); err != nil {
		t.Error(err)
	}
	if n, err := board.Put(t.Context(), "r1", []byte("report"), time.Minute, time.Minute); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if l, err := board.List(t.Context()); len(l.Entries) != 1 || err != nil {
		t.Errorf("%+v, %v", l, err)
	}
}

// Whoever can write to Redis must not make the fleet look large: its replicas would
// speak seldom.
func TestWhoHasNotReportedDoesNotCount(t *testing.T) {
	server := redisserver.Start(t)
	board := open(t, server.URL()).Board()
	put := func(id string) int {
		t.Helper()
		n, err := board.Put(t.Context(), id, []byte("{}"), time.Minute, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	put("r1")
	late := strconv.FormatInt(time.Now().Add(1000*time.Hour).UnixMilli(), 10)
	forged := []string{"ZADD", "test:f:{fleet}:live"}
	for i := range 5000 {
		forged = append(forged, late, "forged"+strconv.Itoa(i))
	}
	admin(t, server.URL(), forged...)
	for range 3 {
		if n := put("r2"); n != 2 {
			t.Fatalf("%d replicas are live, want 2", n)
		}
	}
	if n, err := admin(t, server.URL(), "ZCARD", "test:f:{fleet}:live").ToInt64(); n != 2 || err != nil {
		t.Errorf("%d are left in the register, %v", n, err)
	}
	// One that said something else than the set says.
	admin(t, server.URL(), "HSET", "test:f:{fleet}:last", "r3", "1|2|{}")
	admin(t, server.URL(), "HSET", "test:f:{fleet}:last", "r4", "junk")
	admin(t, server.URL(), "ZADD", "test:f:{fleet}:live", late, "r3", late, "r4")
	if n := put("r1"); n != 2 {
		t.Errorf("%d replicas are live, want 2", n)
	}
}

// A Redis that does not answer knows nothing, which is not the same as having
// nothing; and one that comes back has what it had.
func TestBoardWhileRedisIsAway(t *testing.T) {
	server := redisserver.Start(t, redisserver.KeepData())
	board := open(t, server.URL()).Board()
	revision, err := board.CompareAndSet(t.Context(), "a", "", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := board.Put(t.Context(), "r1", []byte("report"), time.Minute, time.Minute); err != nil {
		t.Fatal(err)
	}
	for name, away := range map[string]struct{ begin, end func() }{
		"hangs":  {server.Pause, server.Resume},
		"killed": {server.Kill, server.Restart},
	} {
		away.begin()
		if value, revision, err := board.Get(t.Context(), "a"); err == nil {
			t.Errorf("%s: get: %q at %q", name, value, revision)
		}
		if _, err := board.CompareAndSet(t.Context(), "b", "", nil); err == nil || errors.Is(err, fleet.ErrConflict) {
			t.Errorf("%s: set: %v", name, err)
		}
		if l, err := board.List(t.Context()); err == nil {
			t.Errorf("%s: list: %+v", name, l)
		}
		if _, err := board.Put(t.Context(), "r2", nil, time.Minute, time.Minute); err == nil {
			t.Errorf("%s: put: no error", name)
		}
		away.end()
		fleettest.Eventually(t, "redis is back", func() bool {
			_, _, err := board.Get(t.Context(), "a")
			return err == nil
		})
		if value, there, err := board.Get(t.Context(), "a"); string(value) != "1" || there != revision || err != nil {
			t.Errorf("%s: then %q at %q, %v", name, value, there, err)
		}
	}
}

// What somebody else put under our keys is an error, not an absence.
func TestBoardFindsWhatIsNotOurs(t *testing.T) {
	server := redisserver.Start(t)
	board := open(t, server.URL()).Board()
	admin(t, server.URL(), "SET", "test:b:short", "x")
	admin(t, server.URL(), "LPUSH", "test:b:list", "x")
	for _, name := range []string{"short", "list"} {
		if value, revision, err := board.Get(t.Context(), name); err == nil {
			t.Errorf("%s: %q at %q", name, value, revision)
		}
	}
	admin(t, server.URL(), "HSET", "test:f:{fleet}:last", "r1", "yesterday")
	if l, err := board.List(t.Context()); err == nil {
		t.Errorf("got %+v", l)
	}
}

// A subscription that is lost is made again, and who watches is told that words
// may have been missed.
func TestBoardIsHeardAfterRedisRestarts(t *testing.T) {
	server := redisserver.Start(t)
	store := open(t, server.URL())
	board, other := store.Board(), open(t, server.URL()).Board()
	var ear fleettest.Ear
	defer board.Watch(ear.Hear)()
	fleettest.SetUntil(t, other, "before", func() bool { return ear.Heard("before") > 0 })
	told := ear.Heard("")
	server.Restart()
	fleettest.Eventually(t, "that words may be lost is told", func() bool { return ear.Heard("") > told })
	fleettest.Eventually(t, "redis is back", func() bool { return store.Ping(t.Context()) == nil })
	fleettest.SetUntil(t, other, "after", func() bool { return ear.Heard("after") > 0 })
}
