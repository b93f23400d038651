package audit

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// Sink is where entries go besides the chain. Deliver is called with entries in
// order, by one replica at a time most often, and again with the same ones when it
// is not known whether they arrived: at least once. It has to return soon after ctx
// ends.
type Sink interface {
	// Name is a short word that stays the same: how far a sink is, is kept under it.
	Name() string
	// Deliver returns of how many entries, from the first on, nothing is left to do.
	// The error is for the one after those: it is tried again, later and later, and no
	// other before it. A *LaterError says when.
	Deliver(ctx context.Context, entries []Entry) (done int, err error)
}

// LaterError says that a receiver wants to be left alone for a while.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return e.Err.Error() }
func (e *LaterError) Unwrap() error { return e.Err }

// PassedOverError says that a receiver does not take one entry, whatever is tried. It
// is recorded, and the next one is delivered.
type PassedOverError struct{ Err error }

func (e *PassedOverError) Error() string { return e.Err.Error() }
func (e *PassedOverError) Unwrap() error { return e.Err }

// Cursor is how far a sink is: the last entry of which nothing is left to do.
type Cursor struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// Cursors keep how far each sink is, for all replicas.
type Cursors interface {
	// Load returns the zero Cursor when none is kept.
	Load(ctx context.Context, sink string) (Cursor, error)
	// Store fails with ErrConflict when the one that is kept is not from.
	Store(ctx context.Context, sink string, from, to Cursor) error
}

// Outcomes of a delivery, for Observe.
const (
	DeliveredOK     = "delivered"
	DeliveredLater  = "failed"
	DeliveredPassed = "passed_over"
)

const (
	// atOnce is how many entries a sink is given at most.
	atOnce = 100
	// deliverWithin bounds one Deliver.
	deliverWithin = time.Minute
	// Back-off after a failure, doubled each time.
	firstPause, lastPause = time.Second, 5 * time.Minute
	// maxPause bounds what a receiver may ask for.
	maxPause = time.Hour
)

// delivery brings the chain to one sink.
type delivery struct {
	r     *Recorder
	sink  Sink
	pause time.Duration // after the last failure
	held  string        // the last failure, as it was told
	at    *Cursor       // how far it is, as far as this replica knows; nil: it does not lead
}

func newDelivery(r *Recorder, sink Sink) *delivery { return &delivery{r: r, sink: sink} }

// run delivers until ctx ends.
func (d *delivery) run(ctx context.Context) {
	for ctx.Err() == nil {
		_, changed := d.r.Seen()
		wait := lookEvery
		if d.r.o.Leads(ctx) {
			more, err := d.deliver(ctx)
			if d.failed(ctx, err); err != nil {
				pause(ctx, d.next(err))
				continue
			}
			if more {
				continue
			}
		} else {
			d.pause, d.held, d.at = 0, "", nil
			changed = nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// deliver brings on what comes next, and reports whether there is more.
func (d *delivery) deliver(ctx context.Context) (more bool, err error) {
	o := d.r.o
	kept, err := o.Cursors.Load(ctx, d.sink.Name())
	if err != nil {
		return false, err
	}
	// Whoever can write it must not have entries left out. Twice is better.
	at := kept
	if d.at != nil && d.at.Seq < kept.Seq {
		at = *d.at
	}
	d.at = &at
	entries, to, err := d.after(ctx, at, kept)
	if err != nil || to == at {
		return false, err
	}
	if len(entries) == 0 { // nothing but what is not ours
		return true, d.store(ctx, kept, to)
	}
	within, cancel := context.WithTimeout(ctx, deliverWithin)
	defer cancel()
	done, failure := d.sink.Deliver(within, entries)
	done = min(max(done, 0), len(entries))
	for range done {
		o.Observe.Delivered(d.sink.Name(), DeliveredOK)
	}
	if passed, ok := errors.AsType[*PassedOverError](failure); ok && done < len(entries) {
		if err := d.passOver(ctx, entries[done], passed); err != nil {
			return false, err
		}
		done, failure = done+1, nil
	}
	if done > 0 {
		next := to
		if done < len(entries) {
			next = Cursor{entries[done-1].Seq, entries[done-1].Hash()}
		}
		if err := d.store(ctx, kept, next); err != nil {
			return false, errors.Join(failure, err)
		}
	}
	return failure == nil, failure
}

// store keeps how far the sink is. Where another replica was faster, that one leads by
// now, or somebody else has written it.
func (d *delivery) store(ctx context.Context, from, to Cursor) error {
	if from != to {
		if err := d.r.o.Cursors.Store(ctx, d.sink.Name(), from, to); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	d.at = &to
	return nil
}

// after is what comes next after a cursor: what a replica has written of it, and up to
// where it is. It is at most what was seen, and so looked at.
func (d *delivery) after(ctx context.Context, at, kept Cursor) ([]Entry, Cursor, error) {
	o := d.r.o
	head, err := o.Log.Head(ctx)
	if err != nil {
		return nil, at, err
	}
	first, lines, err := o.Log.Read(ctx, max(1, at.Seq), atOnce+1)
	if err != nil {
		return nil, at, err
	}
	if at.Seq > 0 {
		switch {
		case len(lines) == 0 && head.Seq >= at.Seq, len(lines) > 0 && first > at.Seq: // what was there has been dropped
		case len(lines) > 0 && HashLine(lines[0]) == at.Hash:
			lines = lines[1:]
		default:
			// It is another chain than the one that was delivered. What is in it goes out
			// from its beginning: twice is better than not at all.
			return nil, at, d.store(ctx, kept, Cursor{})
		}
	}
	o.Observe.Behind(d.sink.Name(), head.Seq-min(head.Seq, at.Seq))
	lines = lines[:min(len(lines), atOnce)]
	seen, _ := d.r.Seen()
	if begin := max(first, at.Seq+1); begin > seen.Seq {
		return nil, at, nil
	} else if most := seen.Seq - begin + 1; uint64(len(lines)) > most {
		lines = lines[:most]
	}
	if len(lines) == 0 {
		return nil, at, nil
	}
	forged, end, err := d.forged(ctx, max(first, at.Seq+1), lines, seen)
	if err != nil {
		return nil, at, err
	}
	var entries []Entry
	for i, line := range lines {
		if !slices.ContainsFunc(forged, func(s stretch) bool { return s.begin <= i && i < s.end }) {
			entries = append(entries, read(line))
		}
	}
	return entries, Cursor{end, HashLine(lines[len(lines)-1])}, nil
}

// forged is what no replica has written of some lines, once that is recorded, and the
// number of the last of them. What was good when it was seen may be another entry by
// now.
func (d *delivery) forged(ctx context.Context, first uint64, lines [][]byte, seen Head) ([]stretch, uint64, error) {
	o := d.r.o
	t := trial{keys: o.Keys, good: func(string) {}, at: first - 1, seq: first - 1}
	for _, line := range lines {
		t.next(ctx, line)
	}
	end := t.at
	for from := end + 1; len(t.open) > 0 && from <= seen.Seq; { // what follows speaks for it
		first, more, err := o.Log.Read(ctx, from, MaxRead)
		if err != nil {
			return nil, end, err
		}
		if len(more) == 0 {
			break
		}
		for _, line := range more {
			if t.next(ctx, line); len(t.open) == 0 {
				break
			}
		}
		from = first + uint64(len(more))
	}
	forged := t.end()
	var events []Event
	for _, s := range d.r.chain.accuse(forged) {
		events = append(events, forgedEvent(o.Replica, s))
		o.Observe.Cut()
		o.Logger.Error("there is in the record what no replica has written; it is not delivered", "sink", d.sink.Name(), "from", s.From, "to", s.To)
	}
	if len(events) == 0 {
		return forged, end, nil
	}
	return forged, end, d.r.Append(ctx, events...)
}

// read is an entry as far as it can be read: what is wrong with it is for Check to
// tell, and it goes out as it is.
func read(line []byte) Entry {
	e, err := Parse(line)
	if err != nil {
		var w written
		_ = json.Unmarshal(line, &w)
		e = Entry{Seq: SeqOf(line), Prev: w.Prev, Event: w.Event, MAC: w.MAC, Line: line}
	}
	return e
}

// passOver records that a receiver does not take an entry; unless it is such a
// record itself, of which there would be no end.
func (d *delivery) passOver(ctx context.Context, e Entry, why error) error {
	o := d.r.o
	o.Observe.Delivered(d.sink.Name(), DeliveredPassed)
	o.Logger.Error("a receiver of the record does not take an entry; it is passed over", "sink", d.sink.Name(), "seq", e.Seq, "id", e.ID, "error", why.Error())
	if e.Type == TypePassedOver {
		return nil
	}
	data, err := json.Marshal(struct {
		Sink string `json:"sink"`
		Seq  uint64 `json:"seq"`
	}{d.sink.Name(), e.Seq})
	if err != nil {
		return err
	}
	return d.r.Append(ctx, Event{
		ID: "passed/" + d.sink.Name() + "/" + strconv.FormatUint(e.Seq, 10), Type: TypePassedOver, Detail: why.Error(), Data: data,
	})
}

// failed says once for each change that a receiver does not get the record.
func (d *delivery) failed(ctx context.Context, err error) {
	log := d.r.o.Logger
	switch {
	case err == nil && d.held != "":
		d.pause, d.held = 0, ""
		log.Info("a receiver of the record gets it again", "sink", d.sink.Name())
	case err == nil:
		d.pause = 0
	case ctx.Err() != nil:
	default:
		d.r.o.Observe.Delivered(d.sink.Name(), DeliveredLater)
		if text := err.Error(); text != d.held {
			d.held = text
			log.Error("a receiver of the record does not get it for now; entries are held back, and none is lost", "sink", d.sink.Name(), "error", text)
		}
	}
}

// next is how long to wait after a failure.
func (d *delivery) next(err error) time.Duration {
	d.pause = min(max(2*d.pause, firstPause), lastPause)
	wait := d.pause/2 + rand.N(d.pause/2)
	if later, ok := errors.AsType[*LaterError](err); ok {
		wait = max(wait, min(later.After, maxPause))
	}
	return wait
}
