package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/keyring"
)

const (
	// clockOff is how far clocks may be apart before somebody should know.
	clockOff = 30 * time.Second
	// lagsFor is how long a replica may take to hold what is new.
	lagsFor = 2 * time.Second
)

func (i inside) fleet() []step {
	if i.Fleet == nil {
		return nil
	}
	all := slices.Sorted(maps.Keys(i.Rings()))
	read := func(check func(fleet.Roll) finding) func(context.Context) finding {
		return func(ctx context.Context) finding {
			roll, err := i.Fleet(ctx)
			if err != nil {
				return bad("what replicas hold can't be read: %v", err).
					because("the store that they speak through is away", "See the check of the session store.")
			}
			return check(roll)
		}
	}
	return []step{
		{"fleet.versions", "replicas hold and use the same", all, func(ctx context.Context) finding {
			f := read(i.versions)(ctx)
			if !f.ok && f.cause == "" {
				// They follow a moment later.
				select {
				case <-ctx.Done():
				case <-time.After(lagsFor):
					f = read(i.versions)(ctx)
				}
			}
			if !f.ok && f.cause == "" {
				f = f.because("the replica can't read the store lately, is busy or cut off, or runs another release", "Look at its log; restart it if it does not catch up. Nothing old is retired while it lags.")
			}
			return f
		}},
		{"fleet.handed_in", "replicas are handed the same", i.names(i.HandedIn), read(i.handedIn)},
		{"fleet.clocks", "clocks of replicas", nil, read(i.clocks)},
	}
}

func named(r fleet.Report) string {
	if r.Host == "" {
		return r.ID
	}
	return r.Host + " (" + r.ID + ")"
}

func live(roll fleet.Roll) []fleet.Report {
	return slices.DeleteFunc(slices.Clone(roll.Reports), func(r fleet.Report) bool { return !r.Live(roll.Now) })
}

// versions names who lags, behind what, and since when.
func (i inside) versions(roll fleet.Roll) finding {
	rings, there := i.Rings(), live(roll)
	var lags []string
	for _, r := range there {
		for _, name := range slices.Sorted(maps.Keys(rings)) {
			if len(i.o.Secrets) > 0 && !slices.Contains(i.o.Secrets, name) {
				continue
			}
			lags = append(lags, lagOf(r, name, rings[name], roll.Now)...)
		}
	}
	switch {
	case len(there) == 0:
		return bad("no replica has been heard lately, not even this one").because("this replica can't write to the store", "See the check of the session store.")
	case len(lags) > 0:
		return bad("%s", strings.Join(lags, "; "))
	}
	return good("%s, all with the same versions", many(len(there), "replica"))
}

func lagOf(r fleet.Report, name string, ring keyring.Ring, now time.Time) (lags []string) {
	held := r.Secrets[name]
	for v := range ring.Live() {
		if _, holds := held.Holds[v.ID]; !holds {
			lags = append(lags, fmt.Sprintf("%s lacks %s %s, which is there since %s", named(r), name, v.ID, at(v.CreatedAt, now)))
		}
	}
	if active := ring.Active(); held.Issues != active.ID && len(lags) == 0 {
		lags = append(lags, fmt.Sprintf("%s still issues with %s %s; %s is in use since %s", named(r), name, orNone(held.Issues), active.ID, at(active.ActivatedAt, now)))
	}
	return lags
}

func orNone(id string) string {
	if id == "" {
		return "nothing"
	}
	return id
}

// handedIn finds who was given another value than others, or can't read it.
func (i inside) handedIn(roll fleet.Roll) finding {
	rings, there := i.Rings(), live(roll)
	var wrong, causes, cures []string
	for _, name := range i.names(i.HandedIn) {
		ring := rings[name]
		gives := map[string][]string{} // replicas by the version that they are given
		for _, r := range there {
			held := r.Secrets[name]
			if held.Trouble != "" {
				wrong = append(wrong, fmt.Sprintf("%s has trouble with the value of %s: %s", named(r), name, held.Trouble))
				causes = append(causes, "its file or variable can't be used; it goes on with the last good value")
				cures = append(cures, "put a whole value there again, readable for the process")
			}
			if held.HandedIn != "" {
				gives[held.HandedIn] = append(gives[held.HandedIn], named(r))
			}
		}
		if len(gives) < 2 {
			continue
		}
		newest := newestOf(ring, slices.Sorted(maps.Keys(gives)))
		for _, id := range slices.Sorted(maps.Keys(gives)) {
			if id == newest {
				continue
			}
			state := "unknown to the fleet"
			if v, ok := ring.Find(id); ok {
				state = string(v.State)
			}
			wrong = append(wrong, fmt.Sprintf("%s: %s is given the old value %s (%s), the others %s", name, list(gives[id]), id, state, newest))
			causes = append(causes, "its file was not replaced when the others' were: a mount that was not updated, another node, an old environment")
			cures = append(cures, "hand "+list(gives[id])+" the same value as the others; until then a restart of it would bring the old one back")
		}
	}
	if len(wrong) > 0 {
		return bad("%s", strings.Join(wrong, "; ")).because(strings.Join(unique(causes), "; "), sentence(strings.Join(unique(cures), "; ")))
	}
	return good("%s, %s", many(len(there), "replica"), many(len(i.names(i.HandedIn)), "secret"))
}

// newestOf is the version that came last, of those that are handed in.
func newestOf(ring keyring.Ring, ids []string) string {
	newest, came := ids[0], time.Time{}
	for _, id := range ids {
		v, known := ring.Find(id)
		if known && (v.CreatedAt.After(came) || v.CreatedAt.Equal(came) && v.State == keyring.Active) {
			newest, came = id, v.CreatedAt
		}
	}
	return newest
}

// clocks compares each replica's with the store's, and ours with it now.
func (i inside) clocks(roll fleet.Roll) finding {
	var wrong []string
	there, furthest := live(roll), time.Duration(0)
	note := func(who string, ahead time.Duration) {
		furthest = max(furthest, ahead.Abs())
		if ahead.Abs() > clockOff {
			wrong = append(wrong, fmt.Sprintf("the clock of %s is %s %s", who, span(ahead), direction(ahead)))
		}
	}
	own := time.Since(roll.Now)
	for _, r := range there {
		if r.ID == i.Replica {
			note(named(r)+", which looked", own)
			continue
		}
		note(named(r), r.Ahead)
	}
	if len(wrong) > 0 {
		return bad("%s of that of the store", strings.Join(wrong, "; ")).
			because("that machine's clock is not synchronised, or the store's is not: an IdP refuses assertions of a clock that is off, and sessions end early or late",
				"Have the machine synchronise its clock (NTP, chrony), and see what runs its hypervisor or container host.")
	}
	return good("%s, at most %d ms from the store's", many(len(there), "clock"), furthest.Milliseconds())
}

func direction(ahead time.Duration) string {
	if ahead < 0 {
		return "behind"
	}
	return "ahead"
}
