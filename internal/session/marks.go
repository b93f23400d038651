package session

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// markFor is how long a mark lasts: far longer than a sign-in is being finished.
const markFor = 5 * time.Minute

// markSlots is how many leases a mark has. While one is given up for a later mark,
// the other holds it.
const markSlots = 2

// mark is what EndAll leaves for sign-ins that are being finished: it ends those
// whose ID token was issued at issued or before, by the IdP's clock, and those whose
// session was created at created or before, by ours. All in Unix ms.
//
// ID tokens and logout tokens are dated in whole seconds, as a rule: of two that are
// of one second nobody can tell by that which came first. Our clock says it: what was
// begun after the end was known is new, if a replica's clock is not ahead by as much.
// So within its last second a mark spares what began after told, where that is not 0,
// and one with created ends also what began until then. What does not say when it
// began is ended.
type mark struct{ issued, created, told int64 }

// markOf is the mark of EndAll. Where it ends all until now, the two clocks differ:
// what was issued in this second is ended if it began before now.
func markOf(until, now time.Time) mark {
	if until.IsZero() {
		return mark{issued: now.Truncate(time.Second).UnixMilli() - 1, created: now.UnixMilli()}
	}
	return mark{issued: until.UnixMilli(), told: now.UnixMilli()}
}

func (a mark) ends(r Record) bool {
	issued, began := issuedMillis(r), millis(r.BegunAt)
	switch {
	case r.CreatedAt.UnixMilli() <= a.created:
		return true
	case issued <= a.issued:
		return a.told == 0 || began <= a.told || !sameSecond(issued, a.issued)
	}
	return began != 0 && began <= a.created && sameSecond(issued, a.created)
}

func sameSecond(a, b int64) bool { return a/1000 == b/1000 }

// issuedMillis: what does not say when it was issued was issued when the session
// began, to the second, as far as anybody can tell.
func issuedMillis(r Record) int64 {
	if r.IssuedAt.IsZero() {
		return r.CreatedAt.Truncate(time.Second).UnixMilli()
	}
	return r.IssuedAt.UnixMilli()
}

// and is the mark that ends what either does, and at most one second's more.
func (a mark) and(b mark) mark {
	if a.issued < b.issued {
		a, b = b, a
	}
	both := mark{a.issued, max(a.created, b.created), a.told}
	switch {
	case both.created != 0 || sameSecond(a.issued, b.issued) && b.told == 0:
		both.told = 0
	case sameSecond(a.issued, b.issued) && both.told != 0:
		both.told = max(a.told, b.told)
	}
	return both
}

// covers reports whether a ends all that b does.
func (a mark) covers(b mark) bool { return a.and(b) == a }

// String is what is kept. A mark has created or told, not both, and told is kept as a
// negative created: a release that does not know of told takes that for none, and
// spares nothing in the last second.
func (a mark) String() string {
	created := a.created
	if a.told != 0 {
		created = -a.told
	}
	return strconv.FormatInt(a.issued, 10) + "," + strconv.FormatInt(created, 10)
}

func parseMark(s string) (a mark, ok bool) {
	issued, created, _ := strings.Cut(s, ",")
	var errs [2]error
	a.issued, errs[0] = strconv.ParseInt(issued, 10, 64)
	a.created, errs[1] = strconv.ParseInt(created, 10, 64)
	if a.created < 0 {
		a.created, a.told = 0, -a.created
	}
	return a, errs[0] == nil && errs[1] == nil && a.told >= 0
}

func markName(group Key, slot int) string {
	return "ended:" + group.String() + ":" + strconv.Itoa(slot)
}

// heldMark is what one slot has.
type heldMark struct {
	mark
	held bool
}

// marks reads both slots of each of the groups, all at once.
func (m *Manager) marks(ctx context.Context, groups []Key) ([][markSlots]heldMark, error) {
	found := make([][markSlots]heldMark, len(groups))
	errs := make([]error, len(groups)*markSlots)
	var reads sync.WaitGroup
	for i, group := range groups {
		for slot := range markSlots {
			reads.Go(func() {
				err := errDefect // unless Holder returns
				defer func() {
					m.shared.defect(recover())
					errs[i*markSlots+slot] = err
				}()
				var owner string
				var held bool
				if owner, held, err = m.store.Holder(ctx, markName(group, slot)); err != nil || !held {
					return
				}
				a, ok := parseMark(owner)
				if !ok {
					err = fmt.Errorf("what is kept of an end is malformed")
				}
				found[i][slot] = heldMark{a, true}
			})
		}
	}
	reads.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return found, nil
}

// heed fails with ErrEnded if a mark ends r.
func (m *Manager) heed(ctx context.Context, groups []group, version string, r Record) error {
	names := make([]Key, len(groups))
	for i, g := range groups {
		var err error
		if names[i], err = m.named(g, version); err != nil {
			return err
		}
	}
	found, err := m.marks(ctx, names)
	if err != nil {
		return err
	}
	for _, slots := range found {
		for _, a := range slots {
			if a.held && a.ends(r) {
				return fmt.Errorf("%w: while the sign-in was under way", ErrEnded)
			}
		}
	}
	return nil
}

// leave leaves a mark on a group, for markFor. One that is there already counts as
// well: what is left is both. It fails with ErrUnavailable.
func (m *Manager) leave(ctx context.Context, group Key, a mark) error {
	for range updateTries {
		found, err := m.marks(ctx, []Key{group})
		if err != nil {
			return err
		}
		slots, left := found[0], a
		free := -1
		for slot, h := range slots {
			switch {
			case !h.held:
				free = slot
			case h.covers(a):
				ok, err := m.store.Renew(ctx, markName(group, slot), h.String(), markFor)
				if err != nil {
					return fmt.Errorf("%w: %w", ErrUnavailable, err)
				}
				if ok {
					return nil
				}
				free = slot
			default:
				left = left.and(h.mark)
			}
		}
		if free < 0 {
			// The later one was made of both, and holds while the other is given up.
			free = 0
			if slots[0].covers(slots[1].mark) {
				free = 1
			}
			if err := m.store.Release(ctx, markName(group, free), slots[free].String()); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		}
		ok, err := m.store.Acquire(ctx, markName(group, free), left.String(), markFor)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if ok {
			return nil
		}
	}
	return fmt.Errorf("%w: marked by others %d times in a row", ErrUnavailable, updateTries)
}
