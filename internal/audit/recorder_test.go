package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/testkit/logbuffer"
)

// store is a Memory that can be away, fall back, and lose an answer.
type store struct {
	*Memory
	mu    sync.Mutex
	away  error
	after error // after it was added
	first func()
}

func (s *store) Append(ctx context.Context, after Head, lines [][]byte, next Head) error {
	s.mu.Lock()
	away, lost, first := s.away, s.after, s.first
	s.first, s.after = nil, nil
	s.mu.Unlock()
	if away != nil {
		return away
	}
	if first != nil {
		first()
	}
	if err := s.Memory.Append(ctx, after, lines, next); err != nil {
		return err
	}
	return lost
}

func (s *store) Head(ctx context.Context) (Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return Head{}, s.away
	}
	return s.Memory.Head(ctx)
}

func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// fallBack loses all after the first n entries, and what says that there were more.
func (s *store) fallBack(n int) {
	m := s.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines, m.head = m.lines[:n], Head{}
	if n > 0 {
		m.head = Head{Seq: uint64(n), Hash: HashLine(m.lines[n-1])}
	}
}

func newStore() *store { return &store{Memory: NewMemory()} }

func recorder(t *testing.T, o Options) *Recorder {
	t.Helper()
	if o.Replica == "" {
		o.Replica = "b7"
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// idsOf checks the chain, and says what is in it.
func idsOf(t *testing.T, log Log) string {
	t.Helper()
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, lines, err := log.Read(t.Context(), 1, MaxRead)
	if err != nil {
		t.Fatal(err)
	}
	if r := Check(lines, CheckOptions{Head: &head}); !r.OK {
		t.Errorf("%+v", r.Problems)
	}
	var ids []string
	for _, line := range lines {
		ids = append(ids, peek(line).ID)
	}
	return strings.Join(ids, " ")
}

func ev(id string) Event { return Event{ID: id, At: began, Type: TypeAsked} }

func add(t *testing.T, r *Recorder, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := r.Append(t.Context(), ev(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSameIsRecordedOnce(t *testing.T) {
	log := newStore()
	one, two := recorder(t, Options{Log: log}), recorder(t, Options{Log: log})
	if err := one.Append(t.Context(), ev("a"), ev("b"), ev("a")); err != nil {
		t.Fatal(err)
	}
	if err := two.Append(t.Context(), ev("b"), ev("c")); err != nil { // who took over
		t.Fatal(err)
	}
	// The answer is lost, and it is done again.
	log.set(func(s *store) { s.after = errors.New("no answer") })
	if err := one.Append(t.Context(), ev("d")); err == nil {
		t.Error("expected an error")
	}
	add(t, one, "d", "e")
	// Somebody else is faster.
	log.set(func(s *store) { s.first = func() { add(t, two, "f") } })
	if err := one.Append(t.Context(), ev("f"), ev("g")); err != nil {
		t.Fatal(err)
	}
	if got := idsOf(t, log); got != "a b c d e f g" {
		t.Error(got)
	}
	var many []Event
	for i := range 350 {
		many = append(many, ev(fmt.Sprint("n", i)))
	}
	if err := one.Append(t.Context(), many...); err != nil {
		t.Fatal(err)
	}
	if head, _ := one.Seen(); head.Seq != 357 {
		t.Errorf("%d", head.Seq)
	}
}

// A store that is away holds nobody up, and what happens meanwhile is written later,
// in order. What is too much is counted, and that is written in its place.
func TestWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newStore()
		log.away = errors.New("away")
		var out logbuffer.Buffer
		var failed, lost atomic.Int32
		r := recorder(t, Options{
			Log: log, Logger: slog.New(slog.NewTextHandler(&out, nil)),
			Observe: Observe{Failed: func(error) { failed.Add(1) }, Lost: func() { lost.Add(1) }},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		r.Record(ev("a"))
		time.Sleep(10 * time.Second)
		r.Record(Event{Type: TypeVerified}) // which has neither id nor time
		for i := range maxQueue + 5 {
			r.Record(ev(fmt.Sprint("n", i)))
		}
		synctest.Wait()
		if r.Waiting() != maxQueue+1 || failed.Load() == 0 || lost.Load() != 7 {
			t.Errorf("%d wait, %d tries, %d lost", r.Waiting(), failed.Load(), lost.Load())
		}
		log.set(func(s *store) { s.away = nil })
		time.Sleep(10 * time.Second)
		r.Record(ev("z"))
		synctest.Wait()
		_, lines, err := log.Read(t.Context(), 1000, MaxRead)
		if err != nil || len(lines) != 3 || !bytes.Contains(lines[1], []byte(`"type":"audit.lost"`)) || !bytes.Contains(lines[1], []byte(`"count":7`)) {
			t.Errorf("%q, %v", lines, err)
		}
		page, err := r.Audit(t.Context(), 1, 3)
		if err != nil || page.First != 1 || len(page.Lines) != 3 || peek([]byte(page.Lines[0])).ID != "a" || page.Head.Seq != 1002 {
			t.Errorf("%+v, %v", page, err)
		}
		if !strings.Contains(page.Lines[1], `"replica":"b7"`) || strings.Contains(page.Lines[1], `"at":"0001`) {
			t.Errorf("%s", page.Lines[1])
		}
		if n := strings.Count(out.String(), "can't be written"); n != 1 || strings.Count(out.String(), "written again") != 1 {
			t.Errorf("%s", out.String())
		}
		tail, err := r.Tail(t.Context(), 2)
		if err != nil || tail.First != 1001 || len(tail.Lines) != 2 {
			t.Errorf("%+v, %v", tail, err)
		}
		// Its last words.
		log.set(func(s *store) { s.away = errors.New("away") })
		r.Record(ev("last"))
		synctest.Wait()
		log.set(func(s *store) { s.away = nil })
		cancel()
		<-done
		if head, _ := log.Head(t.Context()); head.Seq != 1003 {
			t.Errorf("%d", head.Seq)
		}
	})
}

// A store that falls back has lost what was written last. Who remembers it says so,
// once, and puts back what it had written itself.
func TestAChainThatFellBack(t *testing.T) {
	for name, c := range map[string]struct {
		left int
		meanwhile,
		want string
	}{
		"some is lost":               {2, "", "a b cut c d"},
		"all is lost":                {0, "", "cut a b c d"},
		"others have gone on":        {2, "x", "a b x cut c d"},
		"others have gone on beyond": {2, "x y z", "a b x y z cut c d"},
	} {
		t.Run(name, func(t *testing.T) {
			log := newStore()
			cuts := 0
			var out logbuffer.Buffer
			o := Options{Log: log, Logger: slog.New(slog.NewTextHandler(&out, nil)), Observe: Observe{Cut: func() { cuts++ }}}
			r := recorder(t, o)
			add(t, r, "a", "b", "c", "d")
			idle := recorder(t, Options{Log: log})
			add(t, idle, "d")
			log.fallBack(c.left)
			if c.meanwhile != "" {
				add(t, recorder(t, Options{Log: log}), strings.Fields(c.meanwhile)...)
			}
			for range 2 {
				if err := r.chain.append(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			got := idsOf(t, log)
			if i := strings.Index(got, "cut/"); i >= 0 {
				id, rest, _ := strings.Cut(got[i:], " ")
				if !strings.HasPrefix(id, "cut/4/") {
					t.Error(id)
				}
				got = got[:i] + "cut " + rest
			}
			if got != c.want || cuts != 1 || strings.Count(out.String(), "level=ERROR") != 1 {
				t.Errorf("expected %q, found %q, %d cuts: %s", c.want, got, cuts, out.String())
			}
		})
	}
}

func TestTheHeadIsSignedByTheKeyInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := newKey(t), newKey(t)
		var now atomic.Pointer[key]
		now.Store(&old)
		var broken atomic.Bool
		log := newStore()
		r := recorder(t, Options{
			Log: log, KeyID: func() string { return now.Load().KeyID() },
			Sign: func(claims any, typ string) (string, error) {
				if broken.Load() {
					return "", errors.New("no key")
				}
				return now.Load().Sign(claims, typ, nil)
			},
		})
		go r.Run(t.Context())
		signedBy := func(k key) {
			t.Helper()
			head, _ := log.Head(t.Context())
			if at, err := VerifyHead(head, k.Set); err != nil || time.Since(at) > 5*time.Second {
				t.Errorf("signed at %v, %v", at, err)
			}
		}
		add(t, r, "a")
		signedBy(old)
		now.Store(&next)
		time.Sleep(3 * time.Second)
		signedBy(next)
		broken.Store(true)
		add(t, r, "b") // which is no reason not to record it
		broken.Store(false)
		time.Sleep(3 * time.Second)
		signedBy(next)
	})
}

func TestWhatIsOlderThanTheRetentionIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newStore()
		var leads atomic.Bool
		r := recorder(t, Options{Log: log, Retention: 24 * time.Hour, Leads: func(context.Context) bool { return leads.Load() }})
		go r.Run(t.Context())
		for i := range 10 {
			if err := r.Append(t.Context(), Event{ID: fmt.Sprint(i), Type: TypeAsked}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Hour)
		}
		whole := func() Report {
			head, _ := log.Head(t.Context())
			_, lines, _ := log.Read(t.Context(), 0, MaxRead)
			return Check(lines, CheckOptions{Head: &head, Whole: true})
		}
		if got := whole(); got.Entries != 10 { // this one does not lead
			t.Errorf("%+v", got)
		}
		leads.Store(true)
		time.Sleep(2 * time.Hour)
		got := whole()
		if !got.OK || got.First < 5 || got.First > 7 || time.Since(got.From) > 26*time.Hour {
			t.Errorf("%+v", got)
		}
		time.Sleep(100 * time.Hour)
		if got := whole(); !got.OK || got.Entries > 40 || got.Entries == 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A defect in what is called must not end what is served.
func TestADefectEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newStore()
		var out logbuffer.Buffer
		var defects atomic.Int32
		defects.Store(1)
		r := recorder(t, Options{Log: log, Logger: slog.New(slog.NewTextHandler(&out, nil)), Leads: func(context.Context) bool {
			if defects.Add(-1) == 0 {
				panic("a secret in a panic")
			}
			return true
		}, Retention: time.Hour})
		go r.Run(t.Context())
		r.Record(ev("a"))
		time.Sleep(5 * time.Second)
		r.Record(ev("b"))
		synctest.Wait()
		if got := idsOf(t, log); got != "a b" || strings.Contains(out.String(), "a secret") || !strings.Contains(out.String(), "defect") {
			t.Errorf("%s; %s", got, out.String())
		}
	})
}

func TestIDsAreBounded(t *testing.T) {
	var s ids
	for i := range 5 * recent {
		s.add(fmt.Sprint(i))
	}
	if len(s.have) > 2*recent || len(s.order) > 2*recent || !s.has(fmt.Sprint(5*recent-1)) || s.has("0") {
		t.Errorf("%d", len(s.have))
	}
	if slices.Contains(s.order, "") {
		t.Error("an empty id")
	}
}
