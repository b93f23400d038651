package redis_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/session/storetest"
	"keyway/internal/testkit/child"
	"keyway/internal/testkit/parts"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// sentinel watches master, and gives the URL of the set.
func sentinel(t *testing.T, master *redisserver.Server) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	host, masterPort, _ := net.SplitHostPort(master.Addr())
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\nsentinel monitor set %s %s 1\n"+
		"sentinel down-after-milliseconds set 500\nsentinel failover-timeout set 2000\n", port, host, masterPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	child.Start(t, exec.Command(parts.Need(t, parts.Redis)[0], conf, "--sentinel"))
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	storetest.Eventually(t, "the sentinel answers", func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "redis://" + addr + "/0?master_set=set"
}

// A master that dies takes its last writes with it. What that may cost is a
// sign-in: no session comes back, and the store finds the new master by itself.
func TestSentinelFailover(t *testing.T) {
	threat.Covers(t, 67, 68)
	master := redisserver.Start(t, redisserver.Args("--repl-diskless-sync-delay", "0"))
	replica := redisserver.Start(t)
	host, port, _ := net.SplitHostPort(master.Addr())
	admin(t, replica.URL(), "REPLICAOF", host, port)
	storetest.Eventually(t, "the replica follows", func() bool {
		info, _ := admin(t, replica.URL(), "INFO", "replication").ToString()
		return strings.Contains(info, "master_link_status:up")
	})
	url := sentinel(t, master)
	store := open(t, url)
	storetest.Eventually(t, "the sentinel knows the replica", func() bool {
		n, err := admin(t, strings.TrimSuffix(url, "/0?master_set=set"), "SENTINEL", "REPLICAS", "set").ToArray()
		return err == nil && len(n) == 1
	})
	m := sessiontest.Manager(t, store, nil)
	signIn := func() []string {
		header, _ := sessiontest.SignIn(t, m, sessiontest.NewIdP(time.Hour, 0).Grant("ada"))
		return header
	}
	find := func(header []string) error {
		_, err := m.Find(t.Context(), header, sessiontest.Home)
		return err
	}
	kept, out := signIn(), signIn()
	synced := admin(t, master.URL(), "WAIT", "1", "5000")
	if n, _ := synced.AsInt64(); n != 1 {
		t.Fatal("the replica did not get what was written")
	}
	// From here on, writes are lost: not even the kernel holds them for the replica.
	replica.Pause()
	admin(t, master.URL(), "CLIENT", "KILL", "TYPE", "replica")
	lost := signIn()
	s, err := m.Find(t.Context(), out, sessiontest.Home)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.End(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	master.Kill()
	replica.Resume()

	storetest.Eventually(t, "the session that was replicated is found", func() bool {
		err := find(kept)
		if err != nil && !errors.Is(err, session.ErrUnavailable) {
			t.Fatalf("it was ended: %v", err)
		}
		return err == nil
	})
	if err := find(lost); !errors.Is(err, session.ErrEnded) {
		t.Errorf("a session whose record was lost: %v, want that it has ended", err)
	}
	storetest.Eventually(t, "the logout is not undone", func() bool { return errors.Is(find(out), session.ErrEnded) })
	storetest.Eventually(t, "the new master takes writes", func() bool {
		c, _, err := m.Create(t.Context(), sessiontest.NewIdP(time.Hour, 0).Grant("ada"), sessiontest.Home)
		return err == nil && find(sessiontest.Header(c)) == nil
	})
}

// A Replace that a fail-over lost, and another after it, must not be taken for
// each other by who holds the lost one's revision.
func TestALostWriteIsNotTakenForAnother(t *testing.T) {
	threat.Covers(t, 68)
	server := redisserver.Start(t)
	s := open(t, server.URL())
	k := storetest.NewKey()
	first, err := s.Create(t.Context(), k, []byte("one"), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	dump := admin(t, server.URL(), "DUMP", name(k))
	before, _ := dump.ToString()
	lost, err := s.Replace(t.Context(), k, first.Revision, []byte("lost"))
	if err != nil {
		t.Fatal(err)
	}
	admin(t, server.URL(), "RESTORE", name(k), "60000", before, "REPLACE") // as the new master has it
	if _, err := s.Replace(t.Context(), k, first.Revision, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Replace(t.Context(), k, lost.Revision, []byte("three")); !errors.Is(err, session.ErrConflict) {
		t.Errorf("a write over what was never read: %v, want ErrConflict", err)
	}
}

func name(k session.Key) string { return "test:s:{" + k.String()[:2] + "}:" + k.String() }
