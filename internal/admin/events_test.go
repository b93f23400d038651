package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/rotation"
	"keyway/internal/secret"
	"keyway/internal/telemetry"
	"keyway/internal/verify"
)

// listen opens a stream, and gives its events until the test ends.
func (s server) listen(t *testing.T, headers ...string) (*http.Response, <-chan message) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/admin/v1/events", nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	answer, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan message, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		var m message
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "event":
				m.event = value
			case "data":
				m.data = []byte(value)
			case "":
				if m.event != "" {
					events <- m
				}
				m = message{}
			}
		}
	}()
	t.Cleanup(func() { stop(); _ = answer.Body.Close(); <-done })
	return answer, events
}

// next waits for an event of a name for which ok holds; nil: any.
func next(t *testing.T, events <-chan message, name string, ok func(string) bool) string {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case m, open := <-events:
			if !open {
				t.Fatalf("the stream ended before %s", name)
			}
			if !json.Valid(m.data) {
				t.Errorf("%s: not JSON: %s", m.event, m.data)
			}
			if m.event == name && (ok == nil || ok(string(m.data))) {
				return string(m.data)
			}
		case <-late:
			t.Fatalf("no %s came", name)
		}
	}
}

func has(part string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, part) }
}

func TestEventsTellWhatIsAndWhatHappens(t *testing.T) {
	now := time.Now()
	p := &proofs{lines: []string{`{"seq":1,"detail":"<b>&\n"}`}, points: []telemetry.Point{{At: now.Add(-time.Minute), Good: 41}, {At: now.Add(-2 * time.Second), Good: 42}}}
	s := serveProofs(t, p)
	answer, events := s.listen(t)
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Content-Type %q, Cache-Control %q", kind, answer.Header.Get("Cache-Control"))
	}
	next(t, events, "status", has(`"active":"b"`))
	next(t, events, "audit", has(`"first":1`))
	_, others := s.listen(t) // who comes later is told as much
	next(t, others, "status", nil)
	next(t, others, "series", has(`"good":41`))

	p.append(`{"seq":2}`)
	next(t, events, "audit", has(`"first":2`))
	p.mu.Lock()
	p.report = &verify.Report{At: now}
	p.running = true
	p.mu.Unlock()
	next(t, events, "verify", has(`"checks":[]`))
	next(t, others, "load", has(`true`))
	s.control.mu.Lock()
	s.control.err = errors.New("Redis does not answer")
	s.control.mu.Unlock()
	next(t, events, "trouble", has("Redis does not answer"))
	s.control.mu.Lock()
	s.control.err = nil
	s.control.mu.Unlock()
	next(t, events, "trouble", has(`"detail":""`))
}

// That the record was cut is told while it is shorter than it was, and also when it
// has grown past its old end between two looks.
func TestACutRecordIsToldAtOnce(t *testing.T) {
	for name, lines := range map[string][]string{
		"shorter":      {`{"seq":1}`, `{"seq":2,"type":"audit.cut"}`},
		"as long":      {`{"seq":1}`, `{"seq":2,"type":"audit.cut"}`, `{"seq":3,"detail":"anew"}`, `{"seq":4,"detail":"anew"}`},
		"longer":       {`{"seq":1}`, `{"seq":2,"type":"audit.cut"}`, `{"seq":3,"detail":"anew"}`, `{"seq":4,"detail":"anew"}`, `{"seq":5}`},
		"of one entry": {`{"seq":1,"type":"audit.cut"}`},
	} {
		t.Run(name, func(t *testing.T) {
			p := &proofs{lines: []string{`{"seq":1}`, `{"seq":2}`, `{"seq":3}`, `{"seq":4}`}}
			var told []string
			l := &looker{h: New(Options{Control: newFake(), Auditor: p, Loopback: true}), say: func(m message) { told = append(told, string(m.data)) }}
			look := func() {
				t.Helper()
				if err := l.lookAudit(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			look()
			look()
			if len(told) != 1 {
				t.Fatalf("told %q", told)
			}
			p.lines = lines
			look()
			look()
			if len(told) != 2 || !strings.Contains(told[1], "audit.cut") {
				t.Errorf("told %q", told)
			}
			p.append(`{"seq":0,"detail":"after it"}`)
			look()
			if len(told) != 3 || !strings.Contains(told[2], "after it") || strings.Contains(told[2], "audit.cut") {
				t.Errorf("told %q", told)
			}
		})
	}
}

func TestEventsNeedWhatTheAPINeeds(t *testing.T) {
	s := serve(t, true)
	s.do(t, "GET", "/admin/v1/events", "").want(t, 401)
	local := serve(t, false)
	local.do(t, "GET", "/admin/v1/events", "", "Sec-Fetch-Site: cross-site").want(t, 403)
}

func TestStreamsAreBounded(t *testing.T) {
	s := serve(t, false)
	for range maxStreams {
		s.listen(t)
	}
	s.do(t, "GET", "/admin/v1/events", "").want(t, 503, "streams of events are open already")
}

// A stream ends with what let its reader in.
func TestAStreamEndsWithItsToken(t *testing.T) {
	token := goodToken
	control := newFake()
	s := serveOptions(t, Options{Control: control, Token: func() (secret.Value, bool) {
		control.mu.Lock()
		defer control.mu.Unlock()
		return secret.NewValue([]byte(token)), true
	}, Charter: &proofs{points: []telemetry.Point{}}}, control)
	_, events := s.listen(t, "Authorization: Bearer "+goodToken)
	next(t, events, "status", nil)
	control.mu.Lock()
	token = strings.Repeat("another", 8)
	control.rotations = nil
	control.err = errors.New("so that something is told")
	control.mu.Unlock()
	next(t, events, "over", nil)
}

// However many look, the gateway is asked once a second, and not at all when nobody
// does.
func TestOneLookForAllStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := &counted{fake: newFake()}
		h := New(Options{Control: control, Loopback: true})
		var joined []*stream
		for range 5 {
			joined = append(joined, h.hub.join())
		}
		time.Sleep(10*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if n := control.statuses(); n != 11 {
			t.Errorf("asked %d times in 10.5 s", n)
		}
		if n := len(joined[0].messages); n != 2 { // at once, and after ten seconds in which nothing happened
			t.Errorf("%d messages", n)
		}
		for _, s := range joined {
			h.hub.leave(s)
		}
		before := control.statuses()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := control.statuses(); n != before {
			t.Errorf("asked %d times more for nobody", n-before)
		}
	})
}

// counted counts how often it is asked.
type counted struct {
	*fake
	n int
}

func (c *counted) Status(ctx context.Context) (Status, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.fake.Status(ctx)
}

func (c *counted) statuses() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

// moving has a rotation with one step more at each look.
type moving struct {
	*fake
	steps []rotation.Step
}

func (m *moving) Status(ctx context.Context) (Status, error) {
	s, err := m.fake.Status(ctx)
	m.steps = append(m.steps, rotation.Step{At: start, What: "made"})
	s.Secrets[0].Rotation = &rotation.Rotation{ID: "r", Secret: "session-key", Steps: m.steps}
	return s, err
}

func TestARotationIsToldStepByStepAndASlowReaderIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Control: &moving{fake: newFake()}, Loopback: true})
		s, slow := h.hub.join(), h.hub.join()
		rotations := 0
		for range 3 * streamBacklog {
			time.Sleep(time.Second)
			synctest.Wait()
			for len(s.messages) > 0 {
				if m := <-s.messages; m.event == "rotation" {
					rotations++
				}
			}
		}
		if rotations < 100 {
			t.Errorf("%d steps told", rotations)
		}
		select {
		case <-slow.gone:
		default:
			t.Error("a reader that reads nothing is kept")
		}
		select {
		case <-s.gone:
			t.Error("a reader that keeps up was let go")
		default:
		}
		h.hub.leave(s)
		h.hub.leave(slow)
		synctest.Wait()
	})
}

// A defect in what is asked is logged, and ends nothing.
func TestALookSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Control: defect{}, Loopback: true})
		s := h.hub.join()
		time.Sleep(3 * time.Second)
		h.hub.leave(s)
		synctest.Wait()
	})
}

type defect struct{ Control }
