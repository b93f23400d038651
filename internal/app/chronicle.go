package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"keyway/internal/audit"
	"keyway/internal/fleet"
	"keyway/internal/rotation"
)

const (
	auditPrefix = "audit/"
	// chronicleEntry is where it is kept how far the journals are in the record.
	chronicleEntry = auditPrefix + "journal"
	// cursorPrefix begins the entries that keep how far each receiver is.
	cursorPrefix = auditPrefix + "cursor/"
	// chronicleEvery is how often the journals are read.
	chronicleEvery = time.Second
	// settleFor is how long a rotation may be nothing but begun before it is
	// recorded: of two that were asked for at once one is dropped again.
	settleFor = 2 * time.Second
	// chronicleWithin bounds one pass, and flushWithin how long it is waited for one.
	chronicleWithin = 20 * time.Second
	flushWithin     = 5 * time.Second
)

// chronicle brings the record up to what the journals of rotations tell, and to who
// is there. The replica that leads does it. The ids of events follow from what they
// are of, so that whoever does it again after a kill adds what is missing, and
// nothing twice.
type chronicle struct {
	a     *app
	board fleet.Board
	turn  chan struct{} // who passes now, and has the following

	kept     *chronicled // nil: not read yet
	by       string      // the version that it is authenticated with
	revision fleet.Revision

	keys     *entryKeys
	since    map[string]time.Time // when a ring first showed what a journal does not tell
	refusals refusals
}

func newChronicle(a *app, board fleet.Board) *chronicle {
	return &chronicle{a: a, board: board, turn: make(chan struct{}, 1), keys: a.entryKeys(), since: map[string]time.Time{}}
}

// chronicled is what is in the record.
type chronicled struct {
	Rotations map[string]map[string]mark     `json:"rotations"` // by secret and id
	Versions  map[string]map[string]ringMark `json:"versions"`  // by secret and version
	Replicas  map[string]presence            `json:"replicas"`
}

// mark is how far a rotation is in the record.
type mark struct {
	Steps   int    `json:"steps"`
	Outcome string `json:"outcome,omitempty"`
}

// presence is what the record says of a replica.
type presence struct {
	Live  bool `json:"live"`
	Times int  `json:"times"` // it joined
}

func (t chronicled) clone() *chronicled {
	c := chronicled{Rotations: map[string]map[string]mark{}, Replicas: maps.Clone(t.Replicas)}
	for name, marks := range t.Rotations {
		c.Rotations[name] = maps.Clone(marks)
	}
	c.Versions = maps.Clone(t.Versions) // each of which is replaced whole
	if c.Versions == nil {
		c.Versions = map[string]map[string]ringMark{}
	}
	if c.Replicas == nil {
		c.Replicas = map[string]presence{}
	}
	return &c
}

// run goes on until ctx ends. What can't be done now is done later: nothing is lost
// that the journals have.
func (c *chronicle) run(ctx context.Context) {
	tick := time.NewTicker(chronicleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.passInTurn(ctx)
	}
}

// flush brings what journals tell into the record now, so that what is recorded next
// stands behind it. It takes flushWithin at most; what it can't do is done later. Only
// where this replica leads: two that did it at once would get in each other's way.
func (c *chronicle) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushWithin)
	defer cancel()
	c.passInTurn(ctx)
}

func (c *chronicle) passInTurn(ctx context.Context) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return
	}
	if !c.a.leads(ctx) {
		c.kept = nil
		return
	}
	if err := c.pass(ctx); err != nil {
		c.kept = nil // it may be another's by now
	}
}

func (c *chronicle) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, chronicleWithin)
	defer cancel()
	if c.kept == nil {
		if err := c.load(ctx); err != nil {
			return err
		}
	}
	next := c.kept.clone()
	var events []audit.Event
	now, oldest := time.Now(), time.Time{}
	if keep := c.a.config.Audit.Retention; keep > 0 {
		oldest = now.Add(-keep)
	}
	for _, d := range c.a.defs {
		history, err := c.a.runner.History(ctx, d.name)
		if err != nil {
			return err
		}
		more, marks := rotationEvents(history, next.Rotations[d.name], now)
		events, next.Rotations[d.name] = append(events, more...), marks
		shown, versions := ringEvents(c.a.current.Load().rings[d.name], history, next.Versions[d.name], c.since, now)
		events, next.Versions[d.name] = append(events, shown...), versions
	}
	roll, err := c.a.side.reports(ctx)
	if err != nil {
		return err
	}
	events = append(events, fleetEvents(roll, next.Replicas, c.a.id)...)
	events = slices.DeleteFunc(events, func(e audit.Event) bool { return e.At.Before(oldest) })
	slices.SortStableFunc(events, func(x, y audit.Event) int { return x.At.Compare(y.At) })
	for batch := range slices.Chunk(events, audit.MaxAppend) {
		if err := c.a.recorder.Append(ctx, batch...); err != nil {
			return err
		}
	}
	return c.store(ctx, next)
}

func (c *chronicle) load(ctx context.Context) error {
	content, revision, err := c.board.Get(ctx, chronicleEntry)
	if err != nil {
		return err
	}
	var t chronicled
	c.by = ""
	if revision != "" {
		if t, c.by, err = c.unseal(ctx, content); err != nil { // all is told again, and what is in the chain lately is left out
			c.a.log.Error("how far the journals of rotations are in the record is not what a replica has kept; it is told again what they tell", "error", err.Error())
		}
	}
	c.kept, c.revision = t.clone(), revision
	return nil
}

func (c *chronicle) store(ctx context.Context, next *chronicled) error {
	before, err1 := json.Marshal(c.kept)
	after, err2 := json.Marshal(next)
	content, by, err3 := c.seal(next)
	if err := cmp.Or(err1, err2, err3); err != nil || string(before) == string(after) && by == c.by {
		return err
	}
	revision, err := c.board.CompareAndSet(ctx, chronicleEntry, c.revision, content)
	if err != nil {
		return err
	}
	c.kept, c.revision, c.by = next, revision, by
	return nil
}

// rotationEvents are what a secret's history tells beyond the marks, in the order in
// which it happened, and the marks that are right once they are recorded.
func rotationEvents(h rotation.History, marks map[string]mark, now time.Time) ([]audit.Event, map[string]mark) {
	var events []audit.Event
	next := map[string]mark{}
	for _, r := range slices.Backward(h.Rotations) { // the oldest are last
		m, known := marks[r.ID]
		if !known && r.Outcome == "" && len(r.Steps) <= 1 && now.Sub(r.StartedAt) < settleFor {
			continue
		}
		of := func(id string, at time.Time, kind string) audit.Event {
			return audit.Event{
				ID: r.ID + "/" + id, At: at, Type: kind, Actor: r.AskedBy, Secret: r.Secret, Rotation: r.ID, From: r.From, To: r.To,
			}
		}
		if !known {
			e := of("asked", r.StartedAt, audit.TypeAsked)
			e.Data = object(map[string]any{"compromised": r.Compromised})
			events = append(events, e)
		}
		m.Steps = min(m.Steps, len(r.Steps)) // what a journal had and has not any more may be another step by now
		last, by := r.StartedAt, r.AskedBy
		for i, s := range r.Steps {
			by = cmp.Or(s.By, by) // who gives a version up is who ends its rotation
			if s.At.After(last) { // of two clocks the later one counts, so that order stays
				last = s.At
			}
			if i < m.Steps {
				continue
			}
			e := of(fmt.Sprintf("%d-%s", i, s.What), last, audit.TypeRotation+s.What)
			e.Detail, e.Actor = s.Detail, by
			events = append(events, e)
		}
		if r.Outcome != "" && r.Outcome != m.Outcome {
			if r.EndedAt.After(last) || len(r.Steps) == m.Steps {
				last = r.EndedAt
			}
			e := of("ended-"+r.Outcome, last, audit.TypeEnded)
			e.Outcome, e.Detail, e.Actor = r.Outcome, r.Waiting, by
			e.Data = object(map[string]any{"took_ms": r.TookMS()})
			events = append(events, e)
		}
		next[r.ID] = mark{len(r.Steps), r.Outcome}
	}
	return events, next
}

func object(members map[string]any) json.RawMessage {
	data, _ := json.Marshal(members) // of plain values
	return data
}

// fleetEvents are who has come and gone since known, which it brings up to date.
func fleetEvents(roll fleet.Roll, known map[string]presence, leader string) []audit.Event {
	var events []audit.Event
	of := func(id, host, kind string, p presence, detail string) {
		e := audit.Event{
			ID: fmt.Sprintf("fleet/%s/%d/%s", id, p.Times, kind), At: roll.Now, Type: kind, Replica: id, Detail: detail,
			Data: object(map[string]any{"seen_by": leader}),
		}
		if host != "" {
			e.Data = object(map[string]any{"seen_by": leader, "host": host})
		}
		events = append(events, e)
	}
	there := map[string]bool{}
	for _, r := range roll.Reports {
		there[r.ID] = true
		p, live := known[r.ID], r.Live(roll.Now)
		switch {
		case live && !p.Live:
			p = presence{true, p.Times + 1}
			of(r.ID, r.Host, audit.TypeJoined, p, "")
		case !live && p.Live:
			p.Live = false
			of(r.ID, r.Host, audit.TypeLeft, p, "not heard since "+r.Seen.UTC().Format(time.RFC3339))
		case !live: // it went before anybody knew of it
			continue
		}
		known[r.ID] = p
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		p := known[id]
		if there[id] {
			continue
		}
		if p.Live {
			of(id, "", audit.TypeLeft, p, "not heard of any more")
		}
		delete(known, id)
	}
	return events
}

// boardCursors keep how far receivers are on the fleet's board.
type boardCursors struct{ board fleet.Board }

var _ audit.Cursors = boardCursors{}

// Load implements audit.Cursors.
func (b boardCursors) Load(ctx context.Context, sink string) (audit.Cursor, error) {
	at, _, err := b.load(ctx, sink)
	return at, err
}

func (b boardCursors) load(ctx context.Context, sink string) (audit.Cursor, fleet.Revision, error) {
	content, revision, err := b.board.Get(ctx, cursorPrefix+sink)
	if err != nil || revision == "" {
		return audit.Cursor{}, revision, err
	}
	var at audit.Cursor
	if json.Unmarshal(content, &at) != nil {
		at = audit.Cursor{} // everything is delivered again, which is better than not at all
	}
	return at, revision, nil
}

// Store implements audit.Cursors.
func (b boardCursors) Store(ctx context.Context, sink string, from, to audit.Cursor) error {
	at, revision, err := b.load(ctx, sink)
	if err != nil {
		return err
	}
	if at != from {
		return audit.ErrConflict
	}
	content, err := json.Marshal(to)
	if err != nil {
		return err
	}
	_, err = b.board.CompareAndSet(ctx, cursorPrefix+sink, revision, content)
	if errors.Is(err, fleet.ErrConflict) {
		return audit.ErrConflict
	}
	return err
}
