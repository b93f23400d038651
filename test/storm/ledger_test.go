package storm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// ledger counts what happened, and keeps each failure whole.
type ledger struct {
	mu        sync.Mutex
	w         *world
	requests  map[string]*tally
	sessions  int
	streams   int
	lost      int
	failures  []failure
	lastAway  time.Duration // the longest after Redis came back that a 503 was given
	events    []string
	rotations map[string]map[string]int // by secret and outcome
	took      map[string][]time.Duration
	done      map[string]int  // of what operators did, beside rotations
	codes     map[string]int  // of 503s that are borne
	hidden    map[string]bool // what no replica may print
}

// tally is of one kind of request.
type tally struct{ served, away, cut, failed int }

// failure is one thing that a user would have seen.
type failure struct {
	at   time.Time
	text string
}

func newLedger(w *world) *ledger {
	return &ledger{w: w, requests: map[string]*tally{}, rotations: map[string]map[string]int{}, took: map[string][]time.Duration{}, done: map[string]int{}, hidden: map[string]bool{}, codes: map[string]int{}}
}

func (l *ledger) count(b *browser, a answer, v verdict) {
	l.mu.Lock()
	t := l.requests[a.kind]
	if t == nil {
		t = &tally{}
		l.requests[a.kind] = t
	}
	switch v {
	case served:
		t.served++
	case away:
		t.away++
		l.codes[codeOf(a.body)]++
		l.lastAway = max(l.lastAway, l.w.sinceBack(a.from))
	case cut:
		t.cut++
	case over:
		if a.kind == kindStream && a.status == 200 {
			t.served++
		}
	}
	l.mu.Unlock()
	if v == wrong || v == ended {
		l.fail(b, a, v)
	}
}

func (l *ledger) fail(b *browser, a answer, v verdict) {
	what := "a user would see it"
	if v == ended {
		what = "SESSION LOST"
	}
	who := "nobody in particular"
	if b != nil {
		who = b.user
		if !b.signed.IsZero() {
			who += fmt.Sprintf(", signed in at %s (%s before)", clock(b.signed), a.from.Sub(b.signed).Round(time.Millisecond))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.requests[a.kind]; t != nil {
		t.failed++
	} else {
		l.requests[a.kind] = &tally{failed: 1}
	}
	if v == ended {
		l.lost++
	}
	l.failures = append(l.failures, failure{a.to, fmt.Sprintf("%s: %s: %s\n  %s", what, a.kind, who, a)})
}

// amiss is a failure that is of no request.
func (l *ledger) amiss(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.failures = append(l.failures, failure{now, "at " + clock(now) + ": " + fmt.Sprintf(format, args...)})
}

// event notes what the storm did.
func (l *ledger) event(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, clock(time.Now())+" "+fmt.Sprintf(format, args...))
}

func (l *ledger) rotated(secret, outcome string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.rotations[secret]
	if of == nil {
		of = map[string]int{}
		l.rotations[secret] = of
	}
	of[outcome]++
	if outcome == "active" {
		l.took[secret] = append(l.took[secret], took)
	}
}

// did counts something that an operator has done.
func (l *ledger) did(what string) { l.mu.Lock(); l.done[what]++; l.mu.Unlock() }

// hide notes a value that no replica may print.
func (l *ledger) hide(value string) { l.mu.Lock(); l.hidden[value] = true; l.mu.Unlock() }

func (l *ledger) sessionBegan() { l.mu.Lock(); l.sessions++; l.mu.Unlock() }
func (l *ledger) streamOpened() { l.mu.Lock(); l.streams++; l.mu.Unlock() }

// codeOf is the stable code of a problem document.
func codeOf(body string) string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(body), &p)
	return cmp.Or(p.Code, "without a code")
}

// others names the outcomes that are rare.
func others(of map[string]int) string {
	var all []string
	for _, outcome := range slices.Sorted(maps.Keys(of)) {
		if outcome != "active" && outcome != "rolled_back" {
			all = append(all, fmt.Sprintf("%s %d", outcome, of[outcome]))
		}
	}
	return strings.Join(all, ", ")
}

// table is the result for people.
func (l *ledger) table() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	var sum tally
	line("%-44s %8s %12s %12s %8s", "requests", "served", "503, Redis", "cut by kill", "FAILED")
	for _, kind := range slices.Sorted(maps.Keys(l.requests)) {
		t := l.requests[kind]
		line("%-44s %8d %12d %12d %8d", kind, t.served, t.away, t.cut, t.failed)
		sum = tally{sum.served + t.served, sum.away + t.away, sum.cut + t.cut, sum.failed + t.failed}
	}
	line("%-44s %8d %12d %12d %8d", "all", sum.served, sum.away, sum.cut, sum.failed)
	line("")
	line("%-28s %8s %11s %8s %14s %14s", "rotations", "active", "rolled back", "other", "median to act.", "slowest")
	for _, secret := range slices.Sorted(maps.Keys(l.rotations)) {
		of, other := l.rotations[secret], 0
		for outcome, n := range of {
			if outcome != "active" && outcome != "rolled_back" {
				other += n
			}
		}
		took := slices.Sorted(slices.Values(l.took[secret]))
		median, slowest := "-", "-"
		if len(took) > 0 {
			median, slowest = took[len(took)/2].Round(time.Millisecond).String(), took[len(took)-1].Round(time.Millisecond).String()
		}
		line("%-28s %8d %11d %8d %14s %14s %s", secret, of["active"], of["rolled_back"], other, median, slowest, others(of))
	}
	line("")
	for _, what := range slices.Sorted(maps.Keys(l.done)) {
		line("%s: %d", what, l.done[what])
	}
	for _, code := range slices.Sorted(maps.Keys(l.codes)) {
		line("503 while Redis was away, or just had been: %s %d", code, l.codes[code])
	}
	kills, died := 0, 0
	for _, p := range l.w.replicas {
		kills += len(p.downs)
		died += p.died
	}
	line("replicas killed %d (starts that had to be repeated %d), Redis away %d times, the last 503 came %s after it was back",
		kills, died, len(l.w.outages), l.lastAway.Round(time.Millisecond))
	line("sessions %d, streams %d, refreshes at the provider %d, JWKS polled %d times", l.sessions, l.streams, l.w.refreshes, l.w.polled.Load())
	line("failures that a user would see %d, other failures %d, sessions lost %d", sum.failed, len(l.failures)-sum.failed, l.lost)
	return b.String()
}
