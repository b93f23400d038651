package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// heard is a sink that keeps what it is given.
type heard struct {
	mu   sync.Mutex
	all  []Entry
	fail func(n int) (int, error) // of so many; nil: takes all
}

func (*heard) Name() string { return "heard" }

func (h *heard) Deliver(_ context.Context, entries []Entry) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	done, err := len(entries), error(nil)
	if h.fail != nil {
		done, err = h.fail(len(entries))
	}
	h.all = append(h.all, entries[:done]...)
	return done, err
}

func (h *heard) got() []Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}

func aDecision(id string) Decision {
	return Decision{
		At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Decision: "deny", Resource: "note", Action: "update", ID: id, Route: "notes",
		Provider: "main", Subject: "ada", Roles: 2, CorrelationID: "c-1", Took: 1500 * time.Microsecond, Reason: "no policy permits", Context: []byte(`{"obligations":["log"]}`),
	}
}

func TestADecisionIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &heard{}
		d := NewDecisions(DecisionsOptions{Sinks: []Sink{sink}, Replica: "r1"})
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		d.Record(aDecision("7"))
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(sink.got()) != 1 {
			t.Fatalf("%d entries", len(sink.got()))
		}
		e := sink.got()[0]
		var said struct {
			Type, Outcome, Replica string
			Seq                    *int
			Data                   map[string]any
		}
		if err := json.Unmarshal(e.Line, &said); err != nil || said.Seq != nil || said.Type != TypeDecision || said.Outcome != "deny" || said.Replica != "r1" || e.ID == "" {
			t.Fatalf("%v %s", err, e.Line)
		}
		for name, want := range map[string]any{
			"kind": "call", "decision": "deny", "resource": "note", "action": "update", "id": "7", "route": "notes", "principal": "auth:account:main:ada",
			"roles": 2.0, "correlation_id": "c-1", "took_us": 1500.0, "reason": "no policy permits", "cached": false,
		} {
			if said.Data[name] != want {
				t.Errorf("%s: %v, want %v", name, said.Data[name], want)
			}
		}
		if context, ok := said.Data["context"].(map[string]any); !ok || context["obligations"] == nil {
			t.Errorf("context: %v", said.Data["context"])
		}
	})
}

// An account is written as upstreams and decision points are told of it: a colon in the
// provider's alias, or a line break in a sub, makes no other account of it.
func TestADecisionIsOfTheAccountThatUpstreamsKnow(t *testing.T) {
	d := aDecision("7")
	d.Provider, d.Subject = "a:b", "ad\nå"
	e, err := Loose(d.event("r1"))
	if err != nil || !bytes.Contains(e.Line, []byte(`"principal":"auth:account:a%3Ab:ad%0A%C3%A5"`)) {
		t.Errorf("%v %s", err, e.Line)
	}
}

// What does not fit is left out of a decision, and never the decision.
func TestADecisionThatIsTooLongIsStillOne(t *testing.T) {
	d := aDecision(strings.Repeat("<", 500))
	d.Context = []byte(`{"x":"` + strings.Repeat("a", 5000) + `"}`)
	e, err := Loose(d.event("r1"))
	if err != nil || !bytes.Contains(e.Line, []byte(`"decision":"deny"`)) || !bytes.Contains(e.Line, []byte(`"context_left_out":5008`)) {
		t.Fatalf("%v %s", err, e.Line)
	}
	if len(e.Line) > MaxLine {
		t.Errorf("%d bytes", len(e.Line))
	}
}

// A sink that hangs or fails holds up nobody, and what does not fit is counted.
func TestDecisionsNeverBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		away := &heard{fail: func(int) (int, error) { return 0, errors.New("away") }}
		well := &heard{}
		d := NewDecisions(DecisionsOptions{Sinks: []Sink{away, well}, Dropped: func(n int) { dropped.Add(int64(n)) }})
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		for range maxDecisions + 500 {
			d.Record(aDecision("7"))
			synctest.Wait()
		}
		if n := len(well.got()); n != maxDecisions+500 {
			t.Errorf("the sink that is well got %d", n)
		}
		if n := dropped.Load(); n < 300 || n > 500 { // one batch is on its way
			t.Errorf("%d dropped", n)
		}
		away.mu.Lock()
		away.fail = nil
		away.mu.Unlock()
		time.Sleep(2 * decisionPauses)
		synctest.Wait()
		if n := len(away.got()); n < maxDecisions {
			t.Errorf("it got %d when it was back", n)
		}
		cancel()
	})
}

// A question can be told from a call; and however many there are, a call has room.
func TestQuestionsLeaveRoomForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		sink := &heard{fail: func(int) (int, error) { return 0, errors.New("away") }}
		d := NewDecisions(DecisionsOptions{Sinks: []Sink{sink}, Dropped: func(n int) { dropped.Add(int64(n)) }})
		question, stream := aDecision("q"), aDecision("s")
		question.Kind, stream.Kind = DecisionQuestion, DecisionStream
		for range 2 * maxDecisions {
			d.Record(question)
		}
		if n := dropped.Load(); n != 2*maxDecisions-maxQuestions {
			t.Errorf("%d dropped", n)
		}
		dropped.Store(0)
		for i := range maxDecisions - maxQuestions {
			d.Record([]Decision{aDecision("c"), stream}[i%2])
		}
		if n := dropped.Load(); n != 0 {
			t.Errorf("%d of what was done dropped", n)
		}
		sink.fail = nil
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		synctest.Wait()
		cancel()
		kinds := map[string]int{}
		for _, e := range sink.got() {
			var said struct{ Data struct{ Kind, ID string } }
			if err := json.Unmarshal(e.Line, &said); err != nil {
				t.Fatal(err)
			}
			kinds[said.Data.ID+" "+said.Data.Kind]++
		}
		for _, kind := range []string{"q question", "c call", "s stream"} {
			if kinds[kind] < 1000 {
				t.Errorf("told of %v", kinds)
			}
		}
	})
}

// What waits when everything ends is told, within its time.
func TestLastDecisionsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &heard{}
		d := NewDecisions(DecisionsOptions{Sinks: []Sink{sink}})
		for range 350 {
			d.Record(aDecision("7"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		d.Run(ctx)
		if n := len(sink.got()); n != 350 {
			t.Errorf("%d told", n)
		}
	})
}

// One that a receiver never takes keeps no other from it.
func TestADecisionThatIsNotTakenIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		calls := 0
		sink := &heard{fail: func(n int) (int, error) {
			if calls++; calls == 1 {
				return 0, &PassedOverError{errors.New("invalid")}
			}
			return n, nil
		}}
		d := NewDecisions(DecisionsOptions{Sinks: []Sink{sink}, Dropped: func(n int) { dropped.Add(int64(n)) }})
		d.Record(aDecision("1"))
		d.Record(aDecision("2"))
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(sink.got()) != 1 || dropped.Load() != 1 {
			t.Errorf("%d told, %d dropped", len(sink.got()), dropped.Load())
		}
	})
}

func TestASinkWithADefectEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		sink := &heard{fail: func(n int) (int, error) {
			if first {
				first = false
				panic("defect")
			}
			return n, nil
		}}
		d := NewDecisions(DecisionsOptions{Sinks: []Sink{sink}})
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		d.Record(aDecision("1"))
		synctest.Wait()
		d.Record(aDecision("2"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(sink.got()) != 1 {
			t.Errorf("%d told", len(sink.got()))
		}
		cancel()
	})
}

func TestRecordingADecisionAllocatesNothing(t *testing.T) {
	d := NewDecisions(DecisionsOptions{Sinks: []Sink{&heard{}}})
	e := aDecision("7")
	if n := testing.AllocsPerRun(100, func() { d.Record(e) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTheLogSaysDecision(t *testing.T) {
	var b bytes.Buffer
	sink := NewLogSink(slog.New(slog.NewJSONHandler(&b, nil)))
	d := aDecision("7")
	e, err := Loose(d.event("r1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Deliver(t.Context(), []Entry{e}); err != nil {
		t.Fatal(err)
	}
	if line := b.String(); !strings.Contains(line, `"msg":"decision"`) || strings.Contains(line, `"seq"`) || strings.Contains(line, `"hash"`) {
		t.Error(line)
	}
}
