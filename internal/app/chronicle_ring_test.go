package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"keyway/internal/audit"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/secret"
)

// Who takes a journal away, or says that it is in the record already, keeps nothing
// out of the record that a ring shows.
func TestARingIsInTheRecordWithoutItsJournal(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	value := secret.NewValue([]byte("x"))
	ring, err := keyring.New("csrf-key",
		keyring.Version{ID: "v3", State: keyring.Active, ActivatedAt: began.Add(2 * time.Hour), Value: value},
		keyring.Version{ID: "v2", State: keyring.Retired, ActivatedAt: began.Add(time.Hour)},
		keyring.Version{ID: "v1", State: keyring.Retired, ActivatedAt: began},
		keyring.Version{ID: "v0", State: keyring.Rejected},
		keyring.Version{ID: "first", State: keyring.Retired, ActivatedAt: began.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	journal := rotation.History{Rotations: []rotation.Rotation{
		{ID: "r2", From: "v1", To: "v2", Steps: []rotation.Step{{What: "activated"}, {What: "retired_old", Detail: "v1"}}},
		{ID: "r1", From: "first", To: "v1", Steps: []rotation.Step{{What: "activated"}, {What: "retired_old", Detail: "first"}}},
	}}
	since := map[string]time.Time{}
	now := began.Add(3 * time.Hour)
	look := func(h rotation.History, marks map[string]ringMark, want ...string) map[string]ringMark {
		t.Helper()
		events, marks := ringEvents(ring, h, marks, since, now)
		var got []string
		for _, e := range events {
			got = append(got, e.ID)
			if e.Detail != fromTheRing || e.Secret != "csrf-key" {
				t.Errorf("%+v", e)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("expected %q, found %q", want, got)
		}
		return marks
	}
	marks := look(journal, nil) // it may tell yet
	now = now.Add(ringSettles)
	marks = look(journal, marks, "ring/csrf-key/v3/activated", "ring/csrf-key/v2/retired_old")
	if len(since) != 0 {
		t.Errorf("%v", since)
	}
	look(journal, marks)
	now = now.Add(time.Hour)
	look(rotation.History{}, marks) // what it told is in the record
}

func TestMarksOfSomebodyElse(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	journal := fleet.NewJournal(a.board)
	write := func(steps ...string) {
		t.Helper()
		if _, err := journal.Update(t.Context(), nameCSRFKey, func(h *rotation.History) bool {
			r := rotation.Rotation{ID: "r1", Secret: nameCSRFKey, From: "v1", To: "v2", StartedAt: now}
			for _, s := range steps {
				r.Steps = append(r.Steps, rotation.Step{At: now, What: s})
			}
			h.Rotations = []rotation.Rotation{r}
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	write("made", "held")
	forged, _ := json.Marshal(chronicled{Rotations: map[string]map[string]mark{nameCSRFKey: {"r1": {Steps: 999}}}})
	for _, content := range [][]byte{forged, mustSeal(t, &chronicle{keys: otherKeys()}, forged)} {
		_, revision, err := a.board.Get(t.Context(), chronicleEntry)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.board.CompareAndSet(t.Context(), chronicleEntry, revision, content); err != nil {
			t.Fatal(err)
		}
		if err := newChronicle(a, a.board).pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ids := func() string {
		p, err := a.recorder.Audit(t.Context(), 1, audit.MaxRead)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, line := range linesOf(p) {
			if e, _ := audit.Parse(line); e.Rotation == "r1" {
				all = append(all, e.ID)
			}
		}
		return strings.Join(all, " ")
	}
	if got := ids(); got != "r1/asked r1/0-made r1/1-held" {
		t.Errorf("%s", got)
	}
	// A journal that was cut, and goes on: what is new in it is told.
	c := newChronicle(a, a.board)
	for _, steps := range [][]string{{"made"}, {"made", "activated"}} {
		write(steps...)
		if err := c.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(); got != "r1/asked r1/0-made r1/1-held r1/1-activated" {
		t.Errorf("%s", got)
	}
	// What a replica has kept is read again.
	again := newChronicle(a, a.board)
	if err := again.load(t.Context()); err != nil || again.kept.Rotations[nameCSRFKey]["r1"].Steps != 2 || again.by == "" {
		t.Errorf("%v, %+v", err, again.kept)
	}
}

func otherKeys() *entryKeys {
	ring, _ := keyring.New(nameSigningKey, keyring.Version{ID: "x", State: keyring.Active, Value: secret.NewValue([]byte("guessed"))})
	return &entryKeys{ring: func() keyring.Ring { return ring }}
}

func mustSeal(t *testing.T, c *chronicle, marks []byte) []byte {
	t.Helper()
	var all chronicled
	if err := json.Unmarshal(marks, &all); err != nil {
		t.Fatal(err)
	}
	content, _, err := c.seal(&all)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
