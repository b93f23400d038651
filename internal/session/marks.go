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
// session was created at created or before, by ours. Both in Unix ms.
type mark struct{ issued, created int64 }

// markOf is the mark of EndAll. Where it ends all until now, the two clocks differ,
// and the IdP's dates are in whole seconds: what was issued in this second may be from
// a sign-in that is new, and is not ended for its date.
func markOf(until, now time.Time) mark {
	if until.IsZero() {
		return mark{now.Truncate(time.Second).UnixMilli() - 1, now.UnixMilli()}
	}
	return mark{until.UnixMilli(), 0}
}

func (a mark) ends(r Record) bool {
	return issuedMillis(r) <= a.issued || r.CreatedAt.UnixMilli() <= a.created
}

// issuedMillis: what does not say when it was issued was issued when the session
// began, to the second, as far as anybody can tell.
func issuedMillis(r Record) int64 {
	if r.IssuedAt.IsZero() {
		return r.CreatedAt.Truncate(time.Second).UnixMilli()
	}
	return r.IssuedAt.UnixMilli()
}

func (a mark) covers(b mark) bool { return a.issued >= b.issued && a.created >= b.created }

func (a mark) and(b mark) mark { return mark{max(a.issued, b.issued), max(a.created, b.created)} }

func (a mark) String() string {
	return strconv.FormatInt(a.issued, 10) + "," + strconv.FormatInt(a.created, 10)
}

func parseMark(s string) (a mark, ok bool) {
	issued, created, _ := strings.Cut(s, ",")
	var errs [2]error
	a.issued, errs[0] = strconv.ParseInt(issued, 10, 64)
	a.created, errs[1] = strconv.ParseInt(created, 10, 64)
	return a, errs[0] == nil && errs[1] == nil
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
