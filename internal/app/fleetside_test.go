package app

import (
	"testing"
	"time"

	"keyway/internal/fleet"
	"keyway/internal/rotation"
	"keyway/internal/threat"
)

// What a replica counted against the version before says nothing of the new one.
func TestRefusalsAreOfTheVersionInUse(t *testing.T) {
	threat.Covers(t, 62)
	now := time.Now()
	report := func(id, issues string, inGuard int, until time.Time) fleet.Report {
		return fleet.Report{ID: id, Until: until, Secrets: map[string]fleet.Held{nameClientSecret: {Issues: issues, InGuard: inGuard, Before: 1}}}
	}
	roll := rollOf(fleet.Roll{Now: now, Reports: []fleet.Report{
		report("r1", "new", 2, now.Add(time.Second)), report("r2", "old", 400, now.Add(time.Second)), report("r3", "new", 50, now),
	}}, time.Time{})
	if got := roll.Refusals(nameClientSecret, "new"); got != (rotation.Refusals{InGuard: 2, Before: 1}) {
		t.Errorf("of the version that is active, by live replicas: %+v", got)
	}
}
