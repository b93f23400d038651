package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// recent is how many of the newest ids are known: far more than may be recorded
	// again by whoever takes over.
	recent = 2000
	// maxMine is how many of the events that this replica has recorded are kept, to
	// put them back where a store falls back to an earlier state.
	maxMine = 256
	// tries bounds an append among others who append.
	tries = 100
)

// chain adds to a Log, and remembers what it has seen of it.
type chain struct {
	o    Options
	turn chan struct{} // one append at a time

	// Of whoever has the turn.
	ids  ids
	mine []Event
	told string // the last cut that was told of
	said string // and what was forged

	mu      sync.Mutex
	seen    Head          // the newest that was ever seen here
	changed chan struct{} // closed when seen changes
	accused []stretch     // what no replica has written
}

func (c *chain) head() (Head, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.changed
}

func (c *chain) see(h Head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.seen.Same(h) {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.seen = h
}

// take waits for the turn.
func (c *chain) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// append adds events that are not there. Without any, it only looks.
func (c *chain) append(ctx context.Context, events []Event) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer func() { <-c.turn }()
	var lost []Event // which this replica had recorded
	for try := range tries {
		head, back, err := c.catchUp(ctx)
		if errors.Is(err, ErrConflict) {
			pause(ctx, rand.N(time.Duration(min(try+1, 20))*time.Millisecond))
			continue
		}
		if err != nil {
			return err
		}
		lost = append(lost, back...)
		left := c.unknown(slices.Concat(lost, events))
		if len(left) == 0 {
			return nil
		}
		left = left[:min(len(left), MaxAppend)]
		err = c.add(ctx, head, left)
		switch {
		case err == nil && len(left) < MaxAppend:
			return nil
		case err == nil: // there may be more
		case errors.Is(err, ErrConflict):
			pause(ctx, rand.N(time.Duration(min(try+1, 20))*time.Millisecond))
		default:
			return err
		}
	}
	return fmt.Errorf("audit: %w, %d times in a row", ErrConflict, tries)
}

// unknown are the events that are not in the chain lately, each once.
func (c *chain) unknown(events []Event) []Event {
	var left []Event
	have := map[string]bool{}
	for _, e := range events {
		id := e.fitted().ID
		if !c.ids.has(id) && !have[id] {
			have[id] = true
			left = append(left, e)
		}
	}
	return left
}

// add writes events after head.
func (c *chain) add(ctx context.Context, head Head, events []Event) error {
	next := head
	var lines [][]byte
	var entries []Entry
	for _, e := range events {
		entry, err := encodeWith(next, e, c.o.Keys)
		if err != nil {
			return err
		}
		next = Head{Seq: entry.Seq, Hash: entry.Hash()}
		lines, entries = append(lines, entry.Line), append(entries, entry)
	}
	var err error
	if next, err = c.signed(next); err != nil {
		c.o.Logger.Error("the head of the record can't be signed; it is tried again", "error", err.Error())
	}
	if err := c.o.Log.Append(ctx, head, lines, next); err != nil {
		return err
	}
	for _, e := range entries {
		c.ids.add(e.ID)
		c.o.Observe.Appended(e.Type)
	}
	for _, e := range events {
		if !slices.ContainsFunc(c.mine, func(m Event) bool { return m.ID == e.ID }) {
			c.mine = append(c.mine, e)
		}
	}
	c.mine = c.mine[max(0, len(c.mine)-maxMine):]
	c.see(next)
	return nil
}

func (c *chain) signed(h Head) (Head, error) {
	h.Signature = ""
	if c.o.Sign == nil {
		return h, nil
	}
	var err error
	h.Signature, err = c.o.Sign(claimsOf(h, time.Now()), HeadType)
	return h, err
}

// sign signs the head anew if it is not signed by the key in use.
func (c *chain) sign(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer func() { <-c.turn }()
	head, err := c.o.Log.Head(ctx)
	if err != nil || head.Seq == 0 || KeyIDOf(head) == c.o.KeyID() {
		return err
	}
	// Never what somebody has put there since it was looked at: that is looked at first.
	if seen, _ := c.head(); !head.Same(seen) {
		return nil
	}
	next, err := c.signed(head)
	if err != nil {
		return err
	}
	if err := c.o.Log.Append(ctx, head, nil, next); err != nil && !errors.Is(err, ErrConflict) {
		return err // whoever was faster has signed his
	}
	return nil
}

// catchUp reads what others have added. Where the chain is not the one that was seen
// here before, it returns what has to be recorded because of that.
func (c *chain) catchUp(ctx context.Context) (head Head, back []Event, err error) {
	if head, err = c.o.Log.Head(ctx); err != nil {
		return Head{}, nil, err
	}
	seen, _ := c.head()
	goesOn, forged, err := c.goesOn(ctx, seen, head)
	if err != nil {
		return Head{}, nil, err
	}
	var cut []Event
	if !goesOn {
		cut = []Event{cutEvent(c.o.Replica, seen, head)}
		if c.told != cut[0].ID {
			c.told = cut[0].ID
			c.o.Observe.Cut()
			c.o.Logger.Error("the record is not the one that was there: its end was cut off, or its store fell back to an earlier state",
				"seen", seen.Seq, "found", head.Seq)
		}
		c.ids = ids{}
		if _, forged, err = c.goesOn(ctx, Head{}, head); err != nil {
			return Head{}, nil, err
		}
	}
	// First of all, so that no good entry speaks for what it stands behind.
	back = append(c.charges(forged), cut...)
	if !goesOn {
		back = append(back, c.mine...)
	}
	if len(back) > 0 {
		// Until it is recorded it is not seen, and found again.
		if left := c.unknown(back); len(left) > 0 {
			if err := c.add(ctx, head, left[:min(len(left), MaxAppend)]); err != nil {
				return Head{}, nil, err
			}
			head, _ = c.head()
			return head, back, nil
		}
	}
	c.see(head)
	return head, back, nil
}

// charges are what has to be recorded of what no replica has written.
func (c *chain) charges(forged []stretch) []Event {
	var events []Event
	for _, s := range forged {
		events = append(events, forgedEvent(c.o.Replica, s))
	}
	c.accuse(forged)
	events = c.unknown(events)
	said := ""
	for _, e := range events {
		said += e.ID + " "
	}
	if said != "" && c.said != said {
		c.said = said
		c.o.Observe.Cut()
		c.o.Logger.Error("there is in the record what no replica has written; somebody else can write to its store", "detail", events[0].Detail)
	}
	return events
}

// goesOn reads the ids between two heads, and reports whether the later one follows
// from the one that was seen, and what no replica has written of what is new.
func (c *chain) goesOn(ctx context.Context, seen, head Head) (ok bool, forged []stretch, err error) {
	if head.Seq < seen.Seq || head.Seq == seen.Seq && !head.Same(seen) {
		return false, nil, nil
	}
	if seen.Seq > 0 {
		// However much was added: who rewrites a chain can make it long, or make its head
		// one of a line that is not there.
		if there, err := c.there(ctx, seen); err != nil || !there {
			return false, nil, err
		}
		if seen.Same(head) {
			return true, nil, nil
		}
		if there, err := c.there(ctx, head); err != nil || !there {
			return false, nil, err
		}
	}
	from := seen.Seq + 1 // all that is new, however much it is
	if seen.Seq == 0 && head.Seq > recent {
		from = head.Seq - recent + 1
	}
	t := trial{keys: c.o.Keys, good: c.ids.add, seq: seen.Seq, at: from - 1}
	for from <= head.Seq {
		first, lines, err := c.o.Log.Read(ctx, from, MaxRead)
		if err != nil {
			return false, nil, err
		}
		if len(lines) == 0 {
			break // some are missing, which is for Check to tell
		}
		next := max(first+uint64(len(lines)), t.at+1)
		// Where some are missing, a read may begin among what was read already.
		if again := slices.IndexFunc(lines, func(line []byte) bool { return HashLine(line) == t.last }); again >= 0 && t.keys != nil {
			lines = lines[again+1:]
		}
		for _, line := range lines {
			t.next(ctx, line)
		}
		from = max(next, t.at+1)
	}
	return true, t.end(), nil
}

// there reports whether an entry is in the chain, or was, by what follows it: it may
// have been older than the retention, and then is gone as soon as it is not the last.
func (c *chain) there(ctx context.Context, h Head) (bool, error) {
	first, lines, err := c.o.Log.Read(ctx, h.Seq, 1)
	switch {
	case err != nil || len(lines) == 0:
		return false, err
	case first == h.Seq:
		return HashLine(lines[0]) == h.Hash, nil
	}
	return first == h.Seq+1 && peek(lines[0]).Prev == h.Hash, nil
}

// cutData is the data of TypeCut.
type cutData struct {
	Seen  Anchor `json:"seen"`
	Found Anchor `json:"found"`
}

// cutEvent has the same id whoever sees it.
func cutEvent(replica string, seen, found Head) Event {
	data, _ := json.Marshal(cutData{Anchor{seen.Seq, seen.Hash}, Anchor{found.Seq, found.Hash}}) // plain members
	return Event{
		ID: fmt.Sprintf("cut/%d/%.12s/%d", seen.Seq, seen.Hash, found.Seq), At: time.Now(), Type: TypeCut, Replica: replica, Data: data,
		Detail: fmt.Sprintf("entry %d had been seen, and is gone or another one: the chain ended with entry %d", seen.Seq, found.Seq),
	}
}

// ids are the newest ids of a chain.
type ids struct {
	have  map[string]bool
	order []string
}

func (s *ids) has(id string) bool { return s.have[id] }

func (s *ids) add(id string) {
	if s.have == nil {
		s.have = map[string]bool{}
	}
	if id == "" || s.have[id] {
		return
	}
	s.have[id] = true
	s.order = append(s.order, id)
	if len(s.order) > 2*recent {
		for _, old := range s.order[:recent] {
			delete(s.have, old)
		}
		s.order = slices.Clone(s.order[recent:])
	}
}
