package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"keyway/internal/principal"
)

// TypeDecision is the type of a [Decision]. There are as many as there are requests,
// so they go to the sinks, and are not in the chain.
const TypeDecision = "AUTHZ_DECISION"

// DecisionKind is what came of a decision.
type DecisionKind string

// The kinds.
const (
	DecisionCall     DecisionKind = "call"     // a request was let through, or refused
	DecisionStream   DecisionKind = "stream"   // one that was open goes on, or ends
	DecisionQuestion DecisionKind = "question" // nothing: a page asked what its user may do
)

// Decision is what was decided about one request, or for one question of a page. It
// has no secret and no token; who asked is personal data.
type Decision struct {
	At       time.Time
	Kind     DecisionKind // DecisionCall if empty
	Decision string       // allow, deny, error
	Resource string       // its type
	Action   string
	ID       string // of the resource
	Route    string
	// Provider and Subject are the account that asked.
	Provider, Subject string
	// Roles is how many roles that account had: none, where no claim gives any.
	Roles         int
	CorrelationID string
	Took          time.Duration
	Reason        string
	Cached        bool
	Context       []byte // what the decision point said besides: an object, or nil
}

// decisionData is the data of an event, in the names that receivers are promised.
type decisionData struct {
	Kind          DecisionKind    `json:"kind"`
	Decision      string          `json:"decision"`
	Resource      string          `json:"resource"`
	Action        string          `json:"action"`
	ID            string          `json:"id,omitempty"`
	Route         string          `json:"route,omitempty"`
	Principal     string          `json:"principal,omitempty"`
	Roles         int             `json:"roles"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	TookUS        int64           `json:"took_us"`
	Reason        string          `json:"reason,omitempty"`
	Cached        bool            `json:"cached"`
	Context       json.RawMessage `json:"context,omitempty"`
	ContextBytes  int             `json:"context_left_out,omitempty"`
}

// event is the decision as receivers get it.
func (d *Decision) event(replica string) Event {
	data := decisionData{
		Kind: cmp.Or(d.Kind, DecisionCall), Decision: d.Decision, Resource: cut(d.Resource, maxName), Action: cut(d.Action, maxName), ID: cut(d.ID, maxName), Route: cut(d.Route, maxName),
		Roles: d.Roles, CorrelationID: cut(d.CorrelationID, maxName), TookUS: d.Took.Microseconds(), Reason: cut(d.Reason, maxName), Cached: d.Cached, Context: d.Context,
	}
	if d.Subject != "" {
		data.Principal = cut(principal.Principal{Provider: d.Provider, Subject: d.Subject}.Account(), maxName)
	}
	encoded, err := json.Marshal(data)
	if err != nil || len(escaped(encoded)) > maxData {
		data.Context, data.ContextBytes = nil, len(d.Context)
		encoded, _ = json.Marshal(data) // plain members
	}
	return Event{ID: rand.Text(), At: d.At, Type: TypeDecision, Replica: replica, Outcome: d.Decision, Data: encoded}
}

// Loose is an event as an entry that is in no chain: it has neither number nor
// predecessor, and its line is the event alone.
func Loose(e Event) (Entry, error) {
	e = e.fitted()
	line, err := json.Marshal(e)
	if err != nil {
		return Entry{}, errors.New("audit: an event can't be written: " + err.Error())
	}
	return Entry{Event: e, Line: line}, nil
}

const (
	// maxDecisions bounds how many wait for one sink, and maxQuestions how many may
	// wait for a question still to be among them: whoever asks much has nothing left
	// out of what was done.
	maxDecisions, maxQuestions = 4096, maxDecisions / 2
	// decisionPause is how long a sink that failed is left alone, doubled each time up
	// to decisionPauses.
	decisionPause, decisionPauses = time.Second, time.Minute
)

// DecisionsOptions of NewDecisions. Sinks are needed, and are used by nobody else.
type DecisionsOptions struct {
	Sinks   []Sink
	Replica string
	// Dropped is told how many were not delivered to a sink: too many waited, or it
	// does not take them. It must not block.
	Dropped func(n int)
	Logger  *slog.Logger
}

// Decisions brings decisions to sinks, in order, and never so that somebody waits: once
// each, or again under the same id where it is not known whether it arrived. What
// does not fit is dropped, and counted. Safe for concurrent use.
type Decisions struct {
	o      DecisionsOptions
	queues []*decisionQueue
}

// NewDecisions makes one that Run brings on.
func NewDecisions(o DecisionsOptions) *Decisions {
	if o.Dropped == nil {
		o.Dropped = func(int) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Decisions{o: o}
	for _, sink := range o.Sinks {
		d.queues = append(d.queues, &decisionQueue{of: d, sink: sink, ring: make([]Decision, maxDecisions), wake: make(chan struct{}, 1)})
	}
	return d
}

// Record has a decision told, and waits for nothing. It allocates nothing.
func (d *Decisions) Record(e Decision) {
	for _, q := range d.queues {
		if !q.put(&e) {
			d.o.Dropped(1)
		}
	}
}

// Run delivers until ctx ends, and then what is left: two seconds for what is on its
// way, and two for the rest.
func (d *Decisions) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, q := range d.queues {
		group.Go(func() { q.run(ctx) })
	}
	group.Wait()
}

// decisionQueue is what waits for one sink: a ring, so that nothing is allocated for
// what comes and goes.
type decisionQueue struct {
	of   *Decisions
	sink Sink
	wake chan struct{}

	mu    sync.Mutex
	ring  []Decision
	first int
	n     int
}

func (q *decisionQueue) put(e *Decision) bool {
	q.mu.Lock()
	if q.n == len(q.ring) || e.Kind == DecisionQuestion && q.n >= maxQuestions {
		q.mu.Unlock()
		return false
	}
	q.ring[(q.first+q.n)%len(q.ring)] = *e
	q.n++
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take removes the oldest.
func (q *decisionQueue) take() []Entry {
	q.mu.Lock()
	n := min(q.n, atOnce)
	batch := make([]Decision, n)
	for i := range batch {
		at := (q.first + i) % len(q.ring)
		batch[i], q.ring[at] = q.ring[at], Decision{}
	}
	q.first, q.n = (q.first+n)%len(q.ring), q.n-n
	q.mu.Unlock()
	entries := make([]Entry, 0, n)
	for i := range batch {
		entry, err := Loose(batch[i].event(q.of.o.Replica))
		if err != nil {
			q.of.o.Dropped(1)
			continue
		}
		entries = append(entries, entry)
	}
	return entries
}

// run brings on what waits until ctx ends, whatever defects a sink has.
func (q *decisionQueue) run(ctx context.Context) {
	for again := true; again; again = ctx.Err() == nil {
		func() {
			defer func() {
				if recover() != nil { // not the panic's own text: it may have anything
					q.of.o.Logger.Error("telling of decisions met a defect; please report it", "sink", q.sink.Name(), "stack", string(debug.Stack()))
					pause(ctx, time.Second)
				}
			}()
			q.bring(ctx)
		}()
	}
}

func (q *decisionQueue) bring(ctx context.Context) {
	wait, failed := decisionPause, false
	var batch []Entry
	for {
		if len(batch) == 0 {
			batch = q.take()
		}
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-q.wake:
			}
			continue
		}
		if ctx.Err() != nil {
			q.last(ctx, batch)
			return
		}
		// What is on its way when everything ends is not cut: it would be told twice.
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliverWithin)
		stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })
		left, err := q.deliver(within, batch)
		stop()
		cancel()
		if batch = left; err == nil {
			if failed {
				q.of.o.Logger.Info("decisions are delivered again", "sink", q.sink.Name())
			}
			wait, failed = decisionPause, false
			continue
		}
		if !failed && ctx.Err() == nil {
			q.of.o.Logger.Warn("decisions can't be delivered for now; some wait, and the rest are dropped", "sink", q.sink.Name(), "error", err.Error())
		}
		failed = true
		after := wait
		if later, ok := errors.AsType[*LaterError](err); ok {
			after = max(after, min(later.After, maxPause))
		}
		pause(ctx, after)
		wait = min(2*wait, decisionPauses)
	}
}

// deliver returns what is left to do. What a receiver never takes is dropped.
func (q *decisionQueue) deliver(ctx context.Context, batch []Entry) (left []Entry, err error) {
	for len(batch) > 0 {
		done, err := q.sink.Deliver(ctx, batch)
		batch = batch[min(max(done, 0), len(batch)):]
		if _, passed := errors.AsType[*PassedOverError](err); passed && len(batch) > 0 {
			q.of.o.Dropped(1)
			batch = batch[1:]
			continue
		}
		if err != nil {
			return batch, err
		}
		if done == 0 && len(batch) > 0 {
			return batch, errors.New("the sink took nothing")
		}
	}
	return nil, nil
}

// last is what is said when everything ends.
func (q *decisionQueue) last(ctx context.Context, batch []Entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	for len(batch) > 0 && ctx.Err() == nil {
		left, err := q.deliver(ctx, batch)
		if err != nil {
			batch = left
			break
		}
		batch = q.take()
	}
	q.mu.Lock()
	lost := len(batch) + q.n
	q.n = 0
	q.mu.Unlock()
	if lost > 0 {
		q.of.o.Dropped(lost)
		q.of.o.Logger.Warn("some decisions were not delivered before the end", "sink", q.sink.Name(), "count", lost)
	}
}
