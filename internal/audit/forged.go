package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// maxStretches bounds what is told of one by one.
const maxStretches = 20

// stretch is entries in a row that no replica can be shown to have written.
type stretch struct {
	From uint64 `json:"seq"` // of the first
	To   uint64 `json:"to"`  // of the last
	Hash string `json:"hash"`
	why  verdict
	ids  []string

	begin, end int // among the lines that were passed
}

// trial goes through a chain in order. An entry is good by its MAC. One by a version
// that has ended, of which nobody has a key any more, is good by what follows: who
// adds to the chain has looked at what is there, and begins with TypeForged if
// something is wrong with it. So the next good entry speaks for those that it goes
// back to, unless it is such a one that names them.
type trial struct {
	keys Keys
	good func(id string) // of each entry that is
	at   uint64          // number of the last line, by where it stands: what it says may be anything
	seq  uint64          // of the last good one

	lines  int       // that were passed
	open   []stretch // since the last good one
	last   string    // hash of the last line
	linked bool      // all since the last good one follow from each other
	forged []stretch
}

// judge says whether a replica has written a line, for this place.
func (t *trial) judge(ctx context.Context, line []byte) verdict {
	v := judge(ctx, t.keys, line)
	if v == good && t.keys != nil && SeqOf(line) <= t.seq {
		return bad // a copy of one that was before
	}
	return v
}

func (t *trial) next(ctx context.Context, line []byte) {
	hash := HashLine(line)
	t.lines++
	p, v := peek(line), t.judge(ctx, line)
	switch t.at++; {
	case t.keys == nil:
		t.at = max(t.at, SeqOf(line))
	case v == good:
		t.seq, t.at = SeqOf(line), SeqOf(line)
	}
	if len(t.open) == 0 {
		t.linked = true
	} else {
		t.linked = t.linked && p.Prev == t.last
	}
	t.last = hash
	if v == good {
		t.settle(p)
		t.good(p.ID)
		return
	}
	if last := len(t.open) - 1; last >= 0 && (t.open[last].why == v || last >= maxStretches) {
		s := &t.open[last]
		s.To, s.Hash, s.ids, s.end = t.at, t.last, append(s.ids, p.ID), t.lines
		if v == bad {
			s.why = bad
		}
		return
	}
	t.open = append(t.open, stretch{From: t.at, To: t.at, Hash: t.last, why: v, ids: []string{p.ID}, begin: t.lines - 1, end: t.lines})
}

// settle decides by the good entry that follows.
func (t *trial) settle(by peeked) {
	var named stretch
	if by.Type == TypeForged {
		_ = json.Unmarshal(by.Data, &named) // a replica has written it
	}
	for _, s := range t.open {
		if s.why == unplaced && t.linked && (named.From > s.To || named.To < s.From) {
			for _, id := range s.ids {
				t.good(id)
			}
			continue
		}
		t.forged = append(t.forged, s)
	}
	t.open = nil
}

// end is at the end of the chain: nothing speaks for the rest.
func (t *trial) end() []stretch {
	t.forged, t.open = append(t.forged, t.open...), nil
	if len(t.forged) > maxStretches {
		first := t.forged[maxStretches-1]
		last := t.forged[len(t.forged)-1]
		first.To, first.Hash, first.end = last.To, last.Hash, last.end
		t.forged = append(t.forged[:maxStretches-1], first)
	}
	return t.forged
}

// forgedEvent has the same id whoever sees it.
func forgedEvent(replica string, s stretch) Event {
	data, _ := json.Marshal(s) // plain members
	return Event{
		ID: fmt.Sprintf("forged/%d/%d/%.12s", s.From, s.To, s.Hash), At: time.Now(), Type: TypeForged, Replica: replica, Data: data,
		Detail: fmt.Sprintf("%s not written by a replica: there is no MAC by a key of the fleet's", span(s.From, s.To)),
	}
}

// accuse remembers what is told of, so that receivers need not tell of it again. It
// returns what was not remembered yet.
func (c *chain) accuse(forged []stretch) (fresh []stretch) {
	c.mu.Lock()
	defer c.mu.Unlock()
next:
	for _, s := range forged {
		for _, was := range c.accused {
			if was.From <= s.From && s.To <= was.To {
				continue next
			}
		}
		s.ids = nil
		fresh = append(fresh, s)
		c.accused = append(c.accused, s)
	}
	c.accused = c.accused[max(0, len(c.accused)-maxMine):]
	return fresh
}
