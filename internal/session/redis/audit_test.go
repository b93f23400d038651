package redis_test

import (
	"errors"
	"strings"
	"testing"

	"keyway/internal/audit"
	"keyway/internal/audit/logtest"
	"keyway/internal/fleet/fleettest"
	"keyway/internal/testkit/redisserver"
)

func TestAuditLogConformance(t *testing.T) {
	server := redisserver.Start(t)
	logtest.Run(t, func(t *testing.T) audit.Log {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, server.URL()).AuditLog()
	})
}

// The scripts' keys lie in one slot of a cluster.
func TestAuditLogOnACluster(t *testing.T) {
	server := redisserver.Start(t, redisserver.Args("--cluster-enabled", "yes"))
	admin(t, server.URL(), "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	fleettest.Eventually(t, "the cluster is formed", func() bool {
		info, _ := admin(t, server.URL(), "CLUSTER", "INFO").ToString()
		return strings.Contains(info, "cluster_state:ok")
	})
	log := open(t, server.URL()+"?addr="+server.Addr()).AuditLog()
	logtest.Add(t, log, 5)
	if err := log.Drop(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if first, lines := logtest.All(t, log); first != 3 || len(lines) != 3 {
		t.Errorf("%d lines from %d on", len(lines), first)
	}
}

// What somebody takes out of Redis shows for ever, whatever is added then.
func TestWhatIsTakenOutOfRedisShows(t *testing.T) {
	server := redisserver.Start(t)
	lines, head := "test:a:{fleet}:lines", "test:a:{fleet}:head"
	for name, c := range map[string]struct {
		command []string
		gone    bool // all that could tell of it is
	}{
		"the last":           {[]string{"XDEL", lines, "10-0"}, false},
		"one in the middle":  {[]string{"XDEL", lines, "5-0"}, false},
		"the first":          {[]string{"XDEL", lines, "1-0"}, false},
		"all lines":          {[]string{"DEL", lines}, false},
		"trimmed to nothing": {[]string{"XTRIM", lines, "MAXLEN", "0"}, false},
		"the head":           {[]string{"DEL", head}, true},
	} {
		t.Run(name, func(t *testing.T) {
			admin(t, server.URL(), "FLUSHALL")
			log := open(t, server.URL()).AuditLog()
			logtest.Add(t, log, 10)
			admin(t, server.URL(), c.command...)
			for range 3 {
				head := logtest.Head(t, log)
				_, lines := logtest.All(t, log)
				if r := audit.Check(lines, audit.CheckOptions{Head: &head, Whole: true}); r.OK != c.gone || head.Seq < 10 {
					t.Errorf("head %d: %+v", head.Seq, r)
				}
				logtest.Add(t, log, 1)
			}
		})
	}
}

// A head that fell back, as after a restore of a part, does not make two chains.
func TestAHeadThatFellBack(t *testing.T) {
	server := redisserver.Start(t)
	log := open(t, server.URL()).AuditLog()
	logtest.Add(t, log, 3)
	old, err := admin(t, server.URL(), "GET", "test:a:{fleet}:head").ToString()
	if err != nil {
		t.Fatal(err)
	}
	logtest.Add(t, log, 3)
	admin(t, server.URL(), "SET", "test:a:{fleet}:head", old)
	logtest.Add(t, log, 1)
	head := logtest.Head(t, log)
	_, lines := logtest.All(t, log)
	if r := audit.Check(lines, audit.CheckOptions{Head: &head, Whole: true}); !r.OK || head.Seq != 7 {
		t.Errorf("head %d: %+v", head.Seq, r)
	}
}

// A Redis that does not answer knows nothing, which is not the same as having
// nothing; and what is no record of ours is an error.
func TestAuditLogWhileRedisIsAway(t *testing.T) {
	server := redisserver.Start(t, redisserver.KeepData())
	log := open(t, server.URL()).AuditLog()
	logtest.Add(t, log, 2)
	head := logtest.Head(t, log)
	lines, next := logtest.Lines(t, head, 1)
	server.Kill()
	if h, err := log.Head(t.Context()); err == nil {
		t.Errorf("head: %+v", h)
	}
	if _, lines, err := log.Read(t.Context(), 1, 10); err == nil {
		t.Errorf("%d lines", len(lines))
	}
	if err := log.Append(t.Context(), head, lines, next); err == nil || errors.Is(err, audit.ErrConflict) {
		t.Error(err)
	}
	server.Restart()
	fleettest.Eventually(t, "redis is back", func() bool {
		h, err := log.Head(t.Context())
		return err == nil && h == head
	})
	admin(t, server.URL(), "DEL", "test:a:{fleet}:lines")
	admin(t, server.URL(), "SET", "test:a:{fleet}:lines", "hello")
	if _, err := log.Head(t.Context()); err == nil {
		t.Error("a string was taken for a chain")
	}
}

// Whatever somebody writes there, the record goes on, and from its last line.
func TestTheRecordGoesOnAfterWhatIsNone(t *testing.T) {
	server := redisserver.Start(t)
	lines, head := "test:a:{fleet}:lines", "test:a:{fleet}:head"
	hash := audit.HashLine(nil)
	far := `{"seq":18446744073709551615,"prev":"` + hash + `"}`
	for name, commands := range map[string][][]string{
		"a head that is none":             {{"SET", head, "hello"}},
		"a head of another kind":          {{"SET", head, `{"seq":-1}`}},
		"a head without a hash":           {{"SET", head, `{"seq":20,"hash":"x"}`}},
		"the highest number":              {{"SET", head, `{"seq":18446744073709551615,"hash":"` + hash + `"}`}},
		"a line that is none":             {{"XADD", lines, "11-0", "l", "hello"}},
		"a field that is none":            {{"XADD", lines, "11-0", "x", "hello"}},
		"a line far ahead":                {{"XADD", lines, "9000000000000000-0", "l", "hello"}},
		"the last line that can be":       {{"XADD", lines, "18446744073709551615-18446744073709551615", "l", far}},
		"beside the last":                 {{"XADD", lines, "10-1", "l", "hello"}},
		"the last id that can be":         {{"XSETID", lines, "18446744073709551615-18446744073709551615"}},
		"a head and a line that are none": {{"SET", head, "hello"}, {"XADD", lines, "18446744073709551615-0", "l", far}},
	} {
		t.Run(name, func(t *testing.T) {
			admin(t, server.URL(), "FLUSHALL")
			log := open(t, server.URL()).AuditLog()
			logtest.Add(t, log, 10)
			_, before := logtest.All(t, log)
			for _, c := range commands {
				if err := admin(t, server.URL(), c...).Error(); err != nil {
					t.Fatal(err)
				}
			}
			logtest.Add(t, log, 3)
			end := logtest.Head(t, log)
			_, after, err := log.Read(t.Context(), 1, audit.MaxRead)
			if err != nil || end.Seq != 13 || len(after) < 13 {
				t.Fatalf("%v, %d lines, head %d", err, len(after), end.Seq)
			}
			for i, line := range before {
				if string(after[i]) != string(line) {
					t.Errorf("line %d is another: %s", i+1, after[i])
				}
			}
			if last := after[len(after)-1]; audit.HashLine(last) != end.Hash {
				t.Errorf("it ends with %s", last)
			}
		})
	}
}
