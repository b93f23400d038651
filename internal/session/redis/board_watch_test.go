package redis_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/fleet/fleettest"
	"keyway/internal/session"
	"keyway/internal/testkit/redisserver"
)

// subscriptions is how many connections listen to the board's changes.
func subscriptions(t *testing.T, url string) int64 {
	t.Helper()
	answer, err := admin(t, url, "PUBSUB", "NUMSUB", "test:b").ToArray()
	if err != nil || len(answer) != 2 {
		t.Fatal(answer, err)
	}
	n, err := answer[1].AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A defect in who is told ends neither the process nor what is told next.
func TestADefectInAListenerIsContained(t *testing.T) {
	server := redisserver.Start(t)
	store, other := open(t, server.URL()), open(t, server.URL())
	t.Run("of the board", func(t *testing.T) {
		var heard atomic.Int32
		defer store.Board().Watch(func(string) {
			if heard.Add(1) <= 2 {
				panic("with a secret in it")
			}
		})()
		fleettest.SetUntil(t, other.Board(), "a", func() bool { return heard.Load() > 3 })
	})
	t.Run("of sessions", func(t *testing.T) {
		var heard atomic.Int32
		defer store.Changes(func([]session.Key, bool) {
			if heard.Add(1) <= 2 {
				panic("with a secret in it")
			}
		})()
		var k session.Key
		it, err := other.Create(t.Context(), k, []byte("data"), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		fleettest.Eventually(t, "it is told", func() bool {
			if _, err := store.Get(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			if it, err = other.Replace(t.Context(), k, it.Revision, []byte("data")); err != nil {
				t.Fatal(err)
			}
			return heard.Load() > 3
		})
	})
}

// However many watch, a process listens once, while anybody watches.
func TestBoardSubscribesOnce(t *testing.T) {
	server := redisserver.Start(t)
	store := open(t, server.URL())
	board := store.Board()
	if n := subscriptions(t, server.URL()); n != 0 {
		t.Fatalf("%d subscriptions before anybody watches", n)
	}
	for range 3 {
		var ears [3]fleettest.Ear
		var stops [3]func()
		for i := range ears {
			stops[i] = board.Watch(ears[i].Hear)
		}
		for i := range ears {
			fleettest.SetUntil(t, board, "a", func() bool { return ears[i].Heard("a") > 0 })
		}
		stops[0]()
		stops[1]()
		fleettest.SetUntil(t, board, "b", func() bool { return ears[2].Heard("b") > 0 })
		if n := subscriptions(t, server.URL()); n != 1 {
			t.Errorf("%d subscriptions", n)
		}
		stops[2]()
		fleettest.Eventually(t, "the subscription ends", func() bool { return subscriptions(t, server.URL()) == 0 })
	}
	board.Watch(func(string) {})
	fleettest.Eventually(t, "it subscribes", func() bool { return subscriptions(t, server.URL()) == 1 })
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "closing ends it", func() bool { return subscriptions(t, server.URL()) == 0 })
	board.Watch(func(string) { t.Error("a closed store says something") })()
}

// The connection alone is cut: another is made, and what may have been missed is
// told, once for each time.
func TestBoardIsHeardAfterItsConnectionIsCut(t *testing.T) {
	server := redisserver.Start(t)
	board, other := open(t, server.URL()).Board(), open(t, server.URL()).Board()
	var ear fleettest.Ear
	defer board.Watch(ear.Hear)()
	fleettest.SetUntil(t, other, "before", func() bool { return ear.Heard("before") > 0 })
	for range 2 {
		told := ear.Heard("")
		admin(t, server.URL(), "CLIENT", "KILL", "TYPE", "pubsub")
		fleettest.Eventually(t, "that words may be lost is told", func() bool { return ear.Heard("") > told })
		before := ear.Heard("after")
		fleettest.SetUntil(t, other, "after", func() bool { return ear.Heard("after") > before })
	}
}

// A node of a cluster hears what is set on any.
func TestBoardIsHeardOnACluster(t *testing.T) {
	server := redisserver.Start(t, redisserver.Args("--cluster-enabled", "yes"))
	admin(t, server.URL(), "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	fleettest.Eventually(t, "the cluster is formed", func() bool {
		info, _ := admin(t, server.URL(), "CLUSTER", "INFO").ToString()
		return strings.Contains(info, "cluster_state:ok")
	})
	url := server.URL() + "?addr=" + server.Addr()
	fleettest.RunWatcher(t, func(t *testing.T) fleettest.WatchedBoard {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, url).Board()
	})
}

// Redis 7 gives a new user no channels. Then nothing is heard, which costs polls;
// writing works, and nobody is woken for nothing.
func TestBoardOfAUserWithoutChannels(t *testing.T) {
	server := redisserver.Start(t)
	admin(t, server.URL(), "ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "resetchannels")
	board := open(t, strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1)).Board()
	var told atomic.Int64
	var ear fleettest.Ear
	defer board.Watch(func(name string) { told.Add(1); ear.Hear(name) })()
	revision, err := board.CompareAndSet(t.Context(), "a", "", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if value, there, err := board.Get(t.Context(), "a"); string(value) != "1" || there != revision || err != nil {
		t.Fatalf("%q at %q, %v", value, there, err)
	}
	fleettest.Eventually(t, "it was refused twice", func() bool {
		log, err := admin(t, server.URL(), "ACL", "LOG").ToArray()
		for _, entry := range log {
			m, _ := entry.AsMap()
			reason, where, count := m["reason"], m["context"], m["count"]
			what, _ := reason.ToString()
			context, _ := where.ToString()
			if n, _ := count.AsInt64(); what == "channel" && context == "toplevel" && n >= 2 {
				return true
			}
		}
		return err != nil
	})
	if n := told.Load(); n > 0 {
		t.Errorf("told %d times", n)
	}
	admin(t, server.URL(), "ACL", "SETUSER", "limited", "allchannels")
	fleettest.SetUntil(t, board, "a", func() bool { return ear.Heard("a") > 0 && ear.Heard("") > 0 })
	if n := ear.Heard(""); n > 3 {
		t.Errorf("%d times told that anything may have changed", n)
	}
}

// Redis is away when somebody begins to watch.
func TestBoardIsWatchedBeforeRedisIsThere(t *testing.T) {
	server := redisserver.Start(t)
	server.Kill()
	board := open(t, server.URL()).Board()
	var ear fleettest.Ear
	defer board.Watch(ear.Hear)()
	server.Restart()
	fleettest.Eventually(t, "redis is back", func() bool {
		_, _, err := board.Get(t.Context(), "a")
		return err == nil
	})
	fleettest.SetUntil(t, board, "a", func() bool { return ear.Heard("a") > 0 })
}
