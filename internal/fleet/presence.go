package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"keyway/internal/rotation"
)

// NewReplicaID is the id of a process: random, and a new one for each start,
// because a process that starts again knows nothing of what it held before.
func NewReplicaID() string { return strings.ToLower(rand.Text()) }

// Report is what a replica says of itself. There are no values in it, only ids
// of versions.
//
// Its dates are by one clock: for Say, the replica's own; from All, the
// register's.
type Report struct {
	ID string
	// Host is where it runs, for people.
	Host    string
	Started time.Time
	// Seen is when it said so.
	Seen time.Time
	// Until is how long it counts as live if nothing more is heard of it. A replica
	// that ends says so by a last report with Until equal to Seen.
	Until   time.Time
	Secrets map[string]Held // by name of the secret
	// Ahead is how far the replica's clock was ahead of the register's, less what it
	// took to say so. From All only.
	Ahead time.Duration
}

// Held is what a replica holds of one secret.
type Held struct {
	// Holds is since when it has each version, accepts what was issued with it
	// and publishes it, by id.
	Holds map[string]time.Time
	// Issues is the version that it issues with, and Since when.
	Issues string
	Since  time.Time
	// Fetched is when a program last fetched our keys here with the newest version
	// among them; zero: none has. It is for what we publish.
	Fetched time.Time
	// InGuard is how many refusals there were since Since, by a peer or of what
	// should have been good; Before, in as long a time before that.
	InGuard, Before int
	// HandedIn is the version whose value this replica's source gives now; empty when
	// none is handed in.
	HandedIn string
	// Trouble is of which kind its trouble with that source is; empty: none.
	Trouble string
}

// equal is about what others wait for: what differs in this is said at once, the
// rest with the next keep-alive.
func (h Held) equal(o Held) bool {
	return h.Issues == o.Issues && h.Since.Equal(o.Since) && h.HandedIn == o.HandedIn && h.Trouble == o.Trouble &&
		maps.EqualFunc(h.Holds, o.Holds, time.Time.Equal)
}

func (h Held) clone() Held {
	h.Holds = maps.Clone(h.Holds)
	return h
}

// Live reports whether the replica counts as live at now, by the clock of the
// report.
func (r Report) Live(now time.Time) bool { return now.Before(r.Until) }

// Replica is the report as rotation.Decide wants it, for one secret. A policy has
// one Gone for all replicas, while each has promised its own: Seen is moved so
// that Seen + gone is when this one stops to count as live.
func (r Report) Replica(secret string, gone time.Duration) rotation.Replica {
	held := r.Secrets[secret] // nothing, when it did not speak of it
	return rotation.Replica{
		ID: r.ID, Seen: r.Until.Add(-gone),
		Holds: held.Holds, Issues: held.Issues, Since: held.Since,
	}
}

// Roll is everybody's last report.
type Roll struct {
	// Now is the time, by the clock of the reports. It is the one to decide by.
	Now time.Time
	// Since is when the register began: before that, nothing is known. Who moves
	// rings waits until replicas that spoke to its predecessor have had the time
	// to speak again (Gone, for as many as there may be).
	Since   time.Time
	Reports []Report // by id
}

// OthersRight reports whether a live replica other than id has a clock that is no
// further than within from the register's.
func (r Roll) OthersRight(id string, within time.Duration) bool {
	return slices.ContainsFunc(r.Reports, func(o Report) bool {
		return o.ID != id && o.Live(r.Now) && o.Ahead.Abs() <= within
	})
}

// Presence reads and writes reports. It is safe for concurrent use.
type Presence struct {
	register Register
	keep     time.Duration
}

// NewPresence keeps reports in register, those of replicas that are gone for keep
// after they were: as long as anything that they issued may live.
func NewPresence(register Register, keep time.Duration) *Presence {
	return &Presence{register: register, keep: keep}
}

// Say notes a replica's report, and returns how many count as live. Call it in the
// order of the reports: the last one stays. One that was given up and arrives
// after a newer one makes others wait, until the next keep-alive, for what is so
// already; since a replica drops nothing that lives, it does no more harm.
func (p *Presence) Say(ctx context.Context, r Report) (live int, err error) {
	content, err := encodeReport(r)
	if err != nil {
		return 0, fmt.Errorf("fleet: report of %s: %w", r.ID, err)
	}
	live, err = p.register.Put(ctx, r.ID, content, max(0, r.Until.Sub(r.Seen)), p.keep)
	if err != nil {
		return 0, fmt.Errorf("fleet: saying what this replica holds: %w", err)
	}
	return live, nil
}

// All reads what every replica said last, those that are gone included. A report
// that can't be read is an error: whoever wrote it may live, and issue with
// anything.
func (p *Presence) All(ctx context.Context) (Roll, error) {
	listing, err := p.register.List(ctx)
	if err != nil {
		return Roll{}, fmt.Errorf("fleet: reading what replicas hold: %w", err)
	}
	roll := Roll{Now: listing.Now, Since: listing.Since}
	for _, e := range listing.Entries {
		r, err := decodeReport(e)
		if err != nil {
			return Roll{}, err
		}
		roll.Reports = append(roll.Reports, r)
	}
	slices.SortFunc(roll.Reports, func(a, b Report) int { return strings.Compare(a.ID, b.ID) })
	return roll, nil
}

// wireReport tells ages, in milliseconds before the report, and what the replica's
// clock said. Fields that a newer
// release adds are ignored by an older one.
type wireReport struct {
	Host    string              `json:"host,omitempty"`
	Clock   int64               `json:"clock"` // the replica's own, in Unix milliseconds
	Started age                 `json:"started"`
	Secrets map[string]wireHeld `json:"secrets,omitempty"`
}

type wireHeld struct {
	Holds    map[string]age `json:"holds,omitempty"`
	Issues   string         `json:"issues,omitempty"`
	Since    *age           `json:"since,omitempty"`
	Fetched  *age           `json:"fetched,omitempty"`
	InGuard  int            `json:"in_guard,omitempty"`
	Before   int            `json:"before,omitempty"`
	HandedIn string         `json:"handed_in,omitempty"`
	Trouble  string         `json:"trouble,omitempty"`
}

type age int64

// ageOf is never negative: what is said to be later than now is now.
func ageOf(seen, at time.Time) age { return age(max(0, seen.Sub(at)/time.Millisecond)) }

// ageIfAny leaves out a date that there is none of.
func ageIfAny(seen, at time.Time) *age {
	if at.IsZero() {
		return nil
	}
	a := ageOf(seen, at)
	return &a
}

// before is the zero time when there was no date.
func (a *age) before(seen time.Time) time.Time {
	if a == nil {
		return time.Time{}
	}
	return seen.Add(-time.Duration(*a) * time.Millisecond)
}

func encodeReport(r Report) ([]byte, error) {
	w := wireReport{Host: r.Host, Clock: r.Seen.UnixMilli(), Started: ageOf(r.Seen, r.Started), Secrets: make(map[string]wireHeld, len(r.Secrets))}
	for name, held := range r.Secrets {
		h := wireHeld{
			Issues: held.Issues, Holds: make(map[string]age, len(held.Holds)),
			Since: ageIfAny(r.Seen, held.Since), Fetched: ageIfAny(r.Seen, held.Fetched),
			InGuard: held.InGuard, Before: held.Before, HandedIn: held.HandedIn, Trouble: held.Trouble,
		}
		for id, since := range held.Holds {
			h.Holds[id] = ageOf(r.Seen, since)
		}
		w.Secrets[name] = h
	}
	return json.Marshal(w)
}

func decodeReport(e Entry) (Report, error) {
	var w wireReport
	if err := json.Unmarshal(e.Report, &w); err != nil {
		return Report{}, fmt.Errorf("fleet: the report of replica %q can't be read: expected JSON as this release writes it, found something else", e.ID)
	}
	r := Report{
		ID: e.ID, Host: w.Host, Seen: e.Seen, Until: e.Until, Started: w.Started.before(e.Seen),
		Secrets: make(map[string]Held, len(w.Secrets)),
		Ahead:   time.UnixMilli(w.Clock).Sub(e.Seen),
	}
	for name, h := range w.Secrets {
		held := Held{
			Issues: h.Issues, Holds: make(map[string]time.Time, len(h.Holds)),
			Since: h.Since.before(e.Seen), Fetched: h.Fetched.before(e.Seen),
			InGuard: h.InGuard, Before: h.Before, HandedIn: h.HandedIn, Trouble: h.Trouble,
		}
		for id, since := range h.Holds {
			held.Holds[id] = since.before(e.Seen)
		}
		r.Secrets[name] = held
	}
	return r, nil
}
