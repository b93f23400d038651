package source

import (
	"time"

	"keyway/internal/secret"
)

// tracked is a secret, what is known of it, and what was reported. It is for one
// goroutine.
type tracked struct {
	Secret
	current, previous slot

	reported *Reading
	// candidate is what was seen first and differs from what is known; since
	// candidateAt it has been seen unchanged.
	candidate   *pair
	candidateAt time.Time
	// unsettled is when a difference was first seen; zero: there is none.
	unsettled time.Time
}

// pair is one look at both values.
type pair struct{ current, previous sighting }

// look looks once, at now or later. It returns when to look again at the latest to come to an
// end, zero if nothing is open, and what is to be reported.
func (t *tracked) look(r *reader, o *Options, now time.Time) (again time.Time, found []any) {
	seen := t.see(r, o, now)
	again = t.returns(o.Grace, now)
	if t.current.knows(seen.current) && t.previous.knows(seen.previous) {
		t.candidate, t.unsettled = nil, time.Time{}
		return again, nil
	}
	if t.unsettled.IsZero() {
		t.unsettled = now
	}
	if before := t.candidate; before != nil {
		current, previous := before.current.agrees(seen.current), before.previous.agrees(seen.previous)
		settled := now.Sub(t.candidateAt) >= o.Settle
		switch {
		case current && previous && settled:
			t.candidate, t.unsettled = nil, time.Time{}
			return t.returns(o.Grace, now), t.conclude(seen)
		case current && previous:
			return earlier(again, t.candidateAt.Add(o.Settle)), nil
		case settled && now.Sub(t.unsettled) >= o.Patience:
			// One that never holds still must not keep the other from being seen.
			still := seen
			if !current {
				still.current = torn(seen.current, &t.current)
			}
			if !previous {
				still.previous = torn(seen.previous, &t.previous)
			}
			found = t.conclude(still)
		}
	}
	// Not now: on a busy machine the files may have been read long after it.
	t.candidate, t.candidateAt = &seen, time.Now()
	return earlier(again, t.candidateAt.Add(o.Settle)), found
}

// open says that something differs and has not been concluded. What has been
// open for longer than patience counts as known: it is in trouble.
func (t *tracked) open(patience time.Duration, now time.Time) bool {
	return !t.unsettled.IsZero() && now.Sub(t.unsettled) < patience
}

func (t *tracked) see(r *reader, o *Options, now time.Time) pair {
	known := []secret.Value{t.current.good.found.Value, t.previous.good.found.Value}
	if t.candidate != nil {
		known = append(known, t.candidate.current.found.Value, t.candidate.previous.found.Value)
	}
	return pair{
		current:  t.current.see(r, t.Check, o.Grace, now, known...),
		previous: t.previous.see(r, t.Check, o.Grace, now, known...),
	}
}

// returns is when a file that is away stops being waited for.
func (t *tracked) returns(grace time.Duration, now time.Time) (at time.Time) {
	for _, s := range []*slot{&t.current, &t.previous} {
		if end := s.away.Add(grace); !s.away.IsZero() && end.After(now) {
			at = earlier(at, end)
		}
	}
	return at
}

// conclude takes what two looks agree on.
func (t *tracked) conclude(seen pair) (found []any) {
	found = append(found, t.current.take(t.Name, seen.current)...)
	found = append(found, t.previous.take(t.Name, seen.previous)...)
	if !t.current.has() {
		return found // a previous value alone is of no use to anybody
	}
	reading := Reading{Name: t.Name, Current: t.current.good.found}
	if t.previous.has() && !t.previous.good.found.Value.Equal(reading.Current.Value) {
		previous := t.previous.good.found
		reading.Previous = &previous
	}
	if t.reported == nil || !equal(*t.reported, reading) {
		t.reported = &reading
		found = append(found, reading)
	}
	return found
}

func equal(a, b Reading) bool {
	same := func(a, b secret.Found) bool { return a.Origin == b.Origin && a.Value.Equal(b.Value) }
	if a.Previous == nil || b.Previous == nil {
		return a.Previous == nil && b.Previous == nil && same(a.Current, b.Current)
	}
	return same(a.Current, b.Current) && same(*a.Previous, *b.Previous)
}

// knows says that a sighting is nothing new.
func (s *slot) knows(seen sighting) bool {
	switch {
	case seen.good():
		return !s.troubled && s.has() && s.good.agrees(seen)
	case seen.absent:
		return !s.troubled && !s.has()
	}
	return seen.why != Torn && s.stands(seen)
}

func (s *slot) stands(seen sighting) bool {
	return s.troubled && s.trouble.Why == seen.why && s.trouble.Path == seen.place && s.trouble.Detail == seen.detail
}

// take makes a sighting what is known.
func (s *slot) take(name string, seen sighting) (found []any) {
	if seen.why != "" {
		return s.enter(name, seen)
	}
	wasTroubled := s.troubled
	if s.troubled {
		s.troubled = false
		over := s.trouble
		over.Over, over.Kept = true, s.has()
		found = append(found, over)
	}
	if seen.absent {
		s.good, s.folder, s.away = sighting{}, "", time.Time{}
		return found
	}
	folder := ""
	if seen.file != nil {
		folder = realFolder(seen.place)
	}
	if s.good.place != seen.place {
		s.away = time.Time{}
	} else if s.good.found.Value.Equal(seen.found.Value) {
		// Kubernetes writes all files of a secret anew, into a new folder, when
		// one of them changes: that the others hold what they held is no news.
		if !wasTroubled && folder == s.folder && !sameFile(s.good.file, seen.file) {
			found = append(found, Trouble{Name: name, Path: seen.place, Why: Same, Kept: true,
				Detail: "expected a new value, found the one that was there before"})
		}
	}
	s.good, s.folder = seen, folder
	return found
}

// enter makes trouble what is known. The last good value stays.
func (s *slot) enter(name string, seen sighting) []any {
	if s.stands(seen) {
		return nil
	}
	s.troubled = true
	s.trouble = Trouble{Name: name, Path: seen.place, Why: seen.why, Detail: seen.detail, Kept: s.has()}
	return []any{s.trouble}
}

// torn is the trouble of a slot that does not hold still.
func torn(seen sighting, s *slot) sighting {
	place := seen.place
	if place == "" {
		place = s.good.place
	}
	return sighting{place: place, why: Torn, detail: "expected a file that holds still, found one that keeps changing"}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
