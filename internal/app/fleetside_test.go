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

// A user whose requests reach every replica is counted by each, and is one all the
// same.
func TestOneUserDoesNotUndoARotation(t *testing.T) {
	threat.Covers(t, 61)
	now := time.Now()
	fleetOf := func(secret string) rotation.Roll {
		var reports []fleet.Report
		for _, id := range []string{"r1", "r2", "r3", "r4", "r5", "r6", "r7"} {
			reports = append(reports, fleet.Report{ID: id, Until: now.Add(time.Second), Secrets: map[string]fleet.Held{secret: {Issues: "new", InGuard: 1}}})
		}
		return rollOf(fleet.Roll{Now: now, Reports: reports}, time.Time{})
	}
	for _, secret := range []string{nameCSRFKey, nameUAHashSalt, nameSessionKey} {
		if got := fleetOf(secret).Refusals(secret, "new"); got.InGuard != 1 {
			t.Errorf("%s: one user at seven replicas counts as %d", secret, got.InGuard)
		}
	}
	for _, secret := range []string{nameClientSecret, clientSecretOf("others"), nameSigningKey} {
		if got := fleetOf(secret).Refusals(secret, "new"); got.InGuard != 7 {
			t.Errorf("%s: seven refusals of a peer count as %d", secret, got.InGuard)
		}
	}
}
