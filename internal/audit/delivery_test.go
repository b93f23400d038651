package audit

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/testkit/logbuffer"
)

// cursors are kept in memory.
type cursors struct {
	mu sync.Mutex
	at map[string]Cursor
}

func (c *cursors) Load(_ context.Context, sink string) (Cursor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[sink], nil
}

func (c *cursors) Store(_ context.Context, sink string, from, to Cursor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[sink] != from {
		return ErrConflict
	}
	if c.at == nil {
		c.at = map[string]Cursor{}
	}
	c.at[sink] = to
	return nil
}

// receiver takes entries, or does not.
type receiver struct {
	mu     sync.Mutex
	got    []string
	refuse func(id string) error
	tried  []time.Time
}

func (*receiver) Name() string { return "test" }

func (s *receiver) Deliver(_ context.Context, entries []Entry) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried = append(s.tried, time.Now())
	for i, e := range entries {
		if s.refuse != nil {
			if err := s.refuse(e.ID); err != nil {
				return i, err
			}
		}
		s.got = append(s.got, e.ID)
	}
	return len(entries), nil
}

func (s *receiver) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tried)
}

func (s *receiver) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, " ")
}

func (s *receiver) set(refuse func(string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

func TestEntriesAreDeliveredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, at, sink := newStore(), &cursors{}, &receiver{}
		var leads atomic.Bool
		leads.Store(true)
		outcomes := map[string]int{}
		var mu sync.Mutex
		var out logbuffer.Buffer
		o := Options{
			Log: log, Cursors: at, Sinks: []Sink{sink}, Leads: func(context.Context) bool { return leads.Load() }, Logger: slog.New(slog.NewTextHandler(&out, nil)),
			Observe: Observe{Delivered: func(_, outcome string) { mu.Lock(); outcomes[outcome]++; mu.Unlock() }},
		}
		r := recorder(t, o)
		add(t, r, "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx)
		add(t, r, "c")
		time.Sleep(3 * time.Second)
		if got := sink.all(); got != "a b c" {
			t.Error(got)
		}

		// A receiver that is away: held back, and tried later and later.
		sink.set(func(id string) error {
			if id == "e" {
				return errors.New("away")
			}
			return nil
		})
		add(t, r, "d", "e", "f")
		time.Sleep(time.Hour)
		if got := sink.all(); got != "a b c d" {
			t.Error(got)
		}
		if n := sink.tries(); n < 10 || n > 40 {
			t.Errorf("tried %d times", n)
		}
		if n := strings.Count(out.String(), "held back"); n != 1 {
			t.Errorf("told %d times", n)
		}
		sink.set(nil)
		time.Sleep(6 * time.Minute)
		if got := sink.all(); got != "a b c d e f" || !strings.Contains(out.String(), "gets it again") {
			t.Error(got)
		}

		// One entry that it never takes is passed over, and that is recorded; that it does
		// not take that either is not.
		sink.set(func(id string) error {
			if id == "g" || strings.HasPrefix(id, "passed/") {
				return &PassedOverError{errors.New("no")}
			}
			return nil
		})
		add(t, r, "g", "h")
		time.Sleep(10 * time.Second)
		if got := sink.all(); got != "a b c d e f h" {
			t.Error(got)
		}
		if got := idsOf(t, log); !strings.HasSuffix(got, "h passed/test/7") {
			t.Error(got)
		}

		// Left alone for as long as it wants.
		sink.set(func(string) error { return &LaterError{10 * time.Minute, errors.New("later")} })
		add(t, r, "i")
		time.Sleep(time.Second)
		before := sink.tries()
		time.Sleep(9 * time.Minute)
		if n := sink.tries(); n != before {
			t.Errorf("tried %d times more", n-before)
		}

		// Who leads next goes on where this one was.
		cancel()
		time.Sleep(time.Minute)
		sink.set(nil)
		o.Replica = "c8"
		go recorder(t, o).Run(t.Context())
		time.Sleep(10 * time.Second)
		if got := sink.all(); got != "a b c d e f h i" {
			t.Error(got)
		}
		leads.Store(false)
		add(t, r, "j")
		time.Sleep(time.Minute)
		if got := sink.all(); strings.Contains(got, "j") {
			t.Error("who does not lead delivers")
		}
		mu.Lock()
		defer mu.Unlock()
		if outcomes[DeliveredOK] != 8 || outcomes[DeliveredPassed] != 2 || outcomes[DeliveredLater] < 10 {
			t.Errorf("%v", outcomes)
		}
	})
}

// A chain that was begun anew, or whose beginning was dropped, is delivered.
func TestCursorsOfAnotherChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			at   Cursor
			want string
		}{
			"beyond the end":     {Cursor{50, HashLine(nil)}, "a b c"},
			"of another chain":   {Cursor{2, HashLine(nil)}, "a b c"},
			"at the end":         {Cursor{}, "a b c"},
			"in the middle":      {Cursor{1, ""}, "b c"},
			"of what is no more": {Cursor{0, ""}, "a b c"},
		} {
			log, sink := newStore(), &receiver{}
			r := recorder(t, Options{Log: log})
			add(t, r, "a", "b", "c")
			if name == "in the middle" {
				_, lines, _ := log.Read(t.Context(), 1, 1)
				c.at.Hash = HashLine(lines[0])
				if err := log.Drop(t.Context(), 2); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			go recorder(t, Options{Log: log, Sinks: []Sink{sink}, Cursors: &cursors{at: map[string]Cursor{"test": c.at}}}).Run(ctx)
			time.Sleep(10 * time.Second)
			if got := sink.all(); got != c.want {
				t.Errorf("%s: %q", name, got)
			}
			cancel()
			synctest.Wait()
		}
	})
}

func TestLogLines(t *testing.T) {
	var out logbuffer.Buffer
	e, err := Encode(Head{}, event(1))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := NewLogSink(slog.New(slog.NewTextHandler(&out, nil))).Deliver(t.Context(), []Entry{e}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for _, want := range []string{"msg=audit", "seq=1", "secret=session-key", "rotation=r1", "type=rotation.held", "hash=" + e.Hash(), `data="{\"n\":1}"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("expected %s in %s", want, out.String())
		}
	}
}
