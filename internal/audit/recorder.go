package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// maxQueue bounds what waits to be written.
	maxQueue = 1000
	// lookEvery is how often a Recorder looks at the head, and how soon it sees what
	// other replicas have added.
	lookEvery = 2 * time.Second
	// dropEvery is how often retention is looked after.
	dropEvery = time.Hour
	// lastWords bounds what is written after Run was told to end.
	lastWords = 2 * time.Second
)

// Options of a Recorder. All but Log may be left out.
type Options struct {
	Log Log
	// Sign makes a compact JWS of claims, with that typ, by the signing key in use.
	// Without it heads are not signed.
	Sign func(claims any, typ string) (string, error)
	// KeyID is the kid of what Sign would sign now: a head that is signed with another
	// key is signed anew.
	KeyID func() string
	// Keys authenticate each entry. Without them who may write to Log may add some.
	Keys    Keys
	Replica string // for events that do not name one
	// Sinks are given every entry, in order, by the replica that leads. Cursors is
	// where it is kept how far each one is.
	Sinks   []Sink
	Cursors Cursors
	// Retention is how long entries are kept; for ever if 0.
	Retention time.Duration
	// Leads reports whether this replica is the one that delivers and drops; nil: it
	// is.
	Leads   func(ctx context.Context) bool
	Logger  *slog.Logger
	Observe Observe
}

// Observe is told what a Recorder does. Its functions must not block; any may be nil.
type Observe struct {
	Appended  func(kind string)          // an event is in the chain
	Failed    func(err error)            // the chain could not be written
	Queue     func(length int)           // how many events wait
	Lost      func()                     // an event did not fit into the queue
	Cut       func()                     // the chain is not the one that was there, or has what no replica wrote
	Delivered func(sink, outcome string) // DeliveredOK, ...; for each entry that was delivered, or each try that was not
	Behind    func(sink string, entries uint64)
}

// Recorder writes the chain, together with those of other replicas. It is safe for
// concurrent use.
type Recorder struct {
	o     Options
	chain chain
	wake  chan struct{}

	mu     sync.Mutex
	queue  []Event // oldest first
	flying int     // events that are being written
	failed bool    // the last time they could not be
}

// New builds a Recorder.
func New(o Options) (*Recorder, error) {
	if o.Log == nil || len(o.Sinks) > 0 && o.Cursors == nil {
		return nil, errors.New("audit: expected a log, and cursors where there are sinks")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Leads == nil {
		o.Leads = func(context.Context) bool { return true }
	}
	o.Observe = o.Observe.filled()
	return &Recorder{o: o, chain: chain{o: o, turn: make(chan struct{}, 1), changed: make(chan struct{})}, wake: make(chan struct{}, 1)}, nil
}

func (o Observe) filled() Observe {
	if o.Appended == nil {
		o.Appended = func(string) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Queue == nil {
		o.Queue = func(int) {}
	}
	if o.Lost == nil {
		o.Lost = func() {}
	}
	if o.Cut == nil {
		o.Cut = func() {}
	}
	if o.Delivered == nil {
		o.Delivered = func(string, string) {}
	}
	if o.Behind == nil {
		o.Behind = func(string, uint64) {}
	}
	return o
}

// Record has an event written by Run, and does not wait for that. An event without
// an id or a time is given them. Where too many wait already it is not written;
// how many were not, is.
func (r *Recorder) Record(e Event) {
	e = r.complete(e)
	r.mu.Lock()
	if len(r.queue)+r.flying < maxQueue {
		r.queue = append(r.queue, e)
	} else {
		r.lose(e)
	}
	n := len(r.queue) + r.flying
	r.mu.Unlock()
	r.o.Observe.Queue(n)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Recorder) complete(e Event) Event {
	if e.ID == "" {
		e.ID = r.o.Replica + "/" + rand.Text()
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if e.Replica == "" {
		e.Replica = r.o.Replica
	}
	return e
}

// lost is the data of TypeLost.
type lost struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// lose counts an event that is not written in one that is, behind all that wait.
func (r *Recorder) lose(e Event) {
	r.o.Observe.Lost()
	told := lost{First: e.At.UTC()}
	last := len(r.queue) - 1
	if last >= 0 && r.queue[last].Type == TypeLost {
		_ = json.Unmarshal(r.queue[last].Data, &told) // it is ours
	} else {
		r.queue = append(r.queue, r.complete(Event{Type: TypeLost, At: e.At, Detail: "more happened at once than could be kept until it could be written"}))
		last++
	}
	told.Count++
	told.Last = e.At.UTC()
	r.queue[last].Data, _ = json.Marshal(told) // plain members
}

// Append writes events now: all of them, but for those whose ids are in the chain
// lately. After an error some of them may have been written; doing it again is safe.
func (r *Recorder) Append(ctx context.Context, events ...Event) error {
	complete := make([]Event, len(events))
	for i, e := range events {
		complete[i] = r.complete(e)
	}
	return r.chain.append(ctx, complete)
}

// Run writes what is recorded, and, where this replica leads, delivers and drops,
// until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	for _, sink := range r.o.Sinks {
		d := newDelivery(r, sink)
		group.Go(func() { r.again(ctx, d.run) })
	}
	r.again(ctx, r.write)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	for r.waiting() > 0 && r.flush(last) {
	}
}

// again runs until ctx ends, whatever defects there are: they must not end what is
// served.
func (r *Recorder) again(ctx context.Context, run func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer func() {
				if recover() != nil { // not the panic's own text: it may have anything
					r.o.Logger.Error("the record met a defect; please report it", "stack", string(debug.Stack()))
				}
			}()
			run(ctx)
		}()
		pause(ctx, time.Second)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// write is all of Run but the sinks.
func (r *Recorder) write(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var dropped time.Time
	r.look(ctx)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-look.C:
			r.look(ctx)
			if r.o.Leads(ctx) && time.Since(dropped) >= dropEvery {
				dropped = time.Now()
				r.drop(ctx)
			}
		}
		for r.waiting() > 0 && r.flush(ctx) {
		}
	}
}

func (r *Recorder) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

// Waiting is how many events wait to be written.
func (r *Recorder) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) + r.flying
}

var errDefect = errors.New("the record met a defect")

// flush writes the oldest events that wait, and reports whether it could. What it
// could not write stays first.
func (r *Recorder) flush(ctx context.Context) bool {
	r.mu.Lock()
	n := min(len(r.queue), MaxAppend)
	batch := r.queue[:n:n]
	r.queue, r.flying = r.queue[n:], n
	r.mu.Unlock()
	err := errDefect // until it is over: a panic must not lose what was to be written
	defer func() {
		r.mu.Lock()
		if err != nil {
			r.queue = append(batch, r.queue...)
		}
		r.flying = 0
		length := len(r.queue)
		r.mu.Unlock()
		r.o.Observe.Queue(length)
		r.told(ctx, err)
	}()
	err = r.chain.append(ctx, batch)
	return err == nil
}

// look sees how the chain goes on, and that it does; and has the head signed by the
// key that is in use.
func (r *Recorder) look(ctx context.Context) {
	err := r.chain.append(ctx, nil)
	if err == nil && r.o.Sign != nil && r.o.KeyID != nil && r.o.Leads(ctx) {
		err = r.chain.sign(ctx)
	}
	r.told(ctx, err)
}

// told says once for each change that the chain can't be written.
func (r *Recorder) told(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	was := r.failed
	r.failed = err != nil
	r.mu.Unlock()
	switch {
	case err != nil:
		r.o.Observe.Failed(err)
		if !was {
			r.o.Logger.Warn("the record can't be written for now; what happens is kept, and written when it can be", "error", err.Error())
		}
	case was:
		r.o.Logger.Info("the record is written again")
	}
}

// drop removes what is older than the retention. It is told first, so that whoever
// removes more than that shows.
func (r *Recorder) drop(ctx context.Context) {
	if r.o.Retention <= 0 {
		return
	}
	err := r.dropBefore(ctx, time.Now().Add(-r.o.Retention))
	if err != nil && ctx.Err() == nil {
		r.o.Logger.Warn("what is older than the retention could not be dropped from the record; it is tried again", "error", err.Error())
	}
}

func (r *Recorder) dropBefore(ctx context.Context, oldest time.Time) error {
	from, begin := uint64(0), uint64(0)
search:
	for {
		first, lines, err := r.o.Log.Read(ctx, from, MaxRead)
		if err != nil || len(lines) == 0 {
			return err
		}
		if begin == 0 {
			begin = first
		}
		for i, line := range lines {
			if !peek(line).At.Before(oldest) {
				from = first + uint64(i)
				break search
			}
		}
		from = first + uint64(len(lines))
		if len(lines) < MaxRead {
			break
		}
	}
	to, err := r.o.Log.Droppable(ctx, from)
	if err != nil || to <= begin {
		return err
	}
	// Times are believed as far as the chain holds: else whoever makes entries look old
	// has us remove them, and say that it was right. As time goes on, the place where it
	// does not hold comes to be among what is old.
	for _, seq := range []uint64{from, to} {
		if linked, err := r.linked(ctx, seq); err != nil || !linked {
			return cmp.Or(err, fmt.Errorf("entry %d does not follow from the one before it: see 'keyway audit check'", seq))
		}
	}
	first, lines, err := r.o.Log.Read(ctx, to, 1)
	if err != nil || len(lines) == 0 || first != to {
		return err
	}
	if err := r.Append(ctx, droppedEvent(to, peek(lines[0]).Prev, r.o.Retention)); err != nil {
		return err
	}
	return r.o.Log.Drop(ctx, to)
}

// linked reports whether an entry follows from the one before it; where there is no
// such entry yet nothing speaks against it.
func (r *Recorder) linked(ctx context.Context, seq uint64) (bool, error) {
	first, lines, err := r.o.Log.Read(ctx, seq-1, 2)
	switch {
	case err != nil:
		return false, err
	case len(lines) == 0:
		return true, nil
	case len(lines) == 1:
		return first == seq-1, nil
	}
	return first == seq-1 && peek(lines[1]).Prev == HashLine(lines[0]), nil
}

// Audit is a part of the chain from a seq on, 0 for the newest entries, at most most
// and at most MaxRead of them; and its head, as package admin wants it. What was
// added while it was read is not in it.
func (r *Recorder) Audit(ctx context.Context, from uint64, most int) (Page, error) {
	head, err := r.o.Log.Head(ctx)
	if err != nil {
		return Page{}, err
	}
	if from == 0 {
		from = head.Seq - min(head.Seq, uint64(max(0, min(most, MaxRead)))) + 1
	}
	first, lines, err := r.o.Log.Read(ctx, from, most)
	if err != nil {
		return Page{}, err
	}
	page := Page{First: first, Lines: []string{}, Head: head}
	for _, line := range lines {
		if SeqOf(line) <= head.Seq {
			page.Lines = append(page.Lines, string(line))
		}
	}
	return page, nil
}

// Tail is the newest entries, the oldest of them first: at most most, and at most
// MaxRead.
func (r *Recorder) Tail(ctx context.Context, most int) (Page, error) { return r.Audit(ctx, 0, most) }

// Seen is the head as it was last seen here, and a channel that is closed when
// another one is: within two seconds of whoever added to the chain.
func (r *Recorder) Seen() (Head, <-chan struct{}) { return r.chain.head() }
