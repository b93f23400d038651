package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"keyway/internal/audit"
	"keyway/internal/keyring"
	"keyway/internal/rotation"
	"keyway/internal/secret"
)

const (
	// ringSettles is how long a journal may take to tell what its ring shows.
	ringSettles = time.Minute
	// fromTheRing is the detail of what is recorded without a journal.
	fromTheRing = "from the ring; the journal does not tell of it"
	// purposeMarks keeps what marks are authenticated with apart from entries.
	purposeMarks = "keyway audit journal 1\x00"
)

// ringMark is what the record says of a version.
type ringMark struct {
	Activated bool `json:"activated,omitempty"`
	Retired   bool `json:"retired,omitempty"`
}

// ringEvents are what a ring shows, for longer than ringSettles, that neither marks
// nor the journal tell of: who can write to the store can take away a journal, and
// can't make a ring. since is when something was first seen, which it brings up to
// date. The oldest version has come with the ring, and not by a rotation.
func ringEvents(ring keyring.Ring, h rotation.History, marks map[string]ringMark, since map[string]time.Time, now time.Time) ([]audit.Event, map[string]ringMark) {
	var events []audit.Event
	next := map[string]ringMark{}
	oldest := ""
	for v := range ring.All() {
		oldest = v.ID
	}
	late := func(id string) bool {
		if since[id].IsZero() {
			since[id] = now
		}
		return now.Sub(since[id]) >= ringSettles
	}
	for v := range ring.All() {
		m := marks[v.ID]
		of := func(what string) (string, audit.Event) {
			id := "ring/" + ring.Name() + "/" + v.ID + "/" + what
			return id, audit.Event{ID: id, Type: audit.TypeRotation + what, Secret: ring.Name(), Detail: fromTheRing}
		}
		if !m.Activated && !v.ActivatedAt.IsZero() && v.ID != oldest {
			id, e := of(rotation.StepActivated)
			e.At, e.To = v.ActivatedAt, v.ID
			if m.Activated = journalTells(h, rotation.StepActivated, func(r rotation.Rotation, _ rotation.Step) bool { return r.To == v.ID }); !m.Activated && late(id) {
				m.Activated, events = true, append(events, e)
			}
			if m.Activated {
				delete(since, id)
			}
		}
		if !m.Retired && v.State == keyring.Retired && !v.ActivatedAt.IsZero() {
			id, e := of(rotation.StepRetired)
			e.At, e.From, e.To = now, v.ID, ring.Active().ID
			if m.Retired = journalTells(h, rotation.StepRetired, func(_ rotation.Rotation, s rotation.Step) bool { return s.Detail == v.ID }); !m.Retired && late(id) {
				m.Retired, events = true, append(events, e)
			}
			if m.Retired {
				delete(since, id)
			}
		}
		if m != (ringMark{}) {
			next[v.ID] = m
		}
	}
	return events, next
}

func journalTells(h rotation.History, step string, of func(rotation.Rotation, rotation.Step) bool) bool {
	for _, r := range h.Rotations {
		for _, s := range r.Steps {
			if s.What == step && of(r, s) {
				return true
			}
		}
	}
	return false
}

// sealedMarks is chronicled as it is kept: who can write to the store must not say
// what is in the record already.
type sealedMarks struct {
	Marks   json.RawMessage `json:"marks"`
	Version string          `json:"version"`
	MAC     []byte          `json:"mac"`
}

func marksMAC(key secret.Value, marks []byte) []byte {
	h := hmac.New(sha256.New, key.Reveal())
	h.Write([]byte(purposeMarks))
	h.Write(marks)
	return h.Sum(nil)
}

func (c *chronicle) seal(t *chronicled) (content []byte, version string, err error) {
	marks, err := json.Marshal(t)
	if err != nil {
		return nil, "", err
	}
	version, key, err := c.keys.Active()
	if err != nil {
		return nil, "", err
	}
	content, err = json.Marshal(sealedMarks{marks, version, marksMAC(key, marks)})
	return content, version, err
}

var errNotOurs = errors.New("no replica has written it")

func (c *chronicle) unseal(ctx context.Context, content []byte) (t chronicled, version string, err error) {
	var s sealedMarks
	if json.Unmarshal(content, &s) != nil {
		return t, "", errNotOurs
	}
	key, ok := c.keys.Key(ctx, s.Version)
	if !ok || !hmac.Equal(s.MAC, marksMAC(key, s.Marks)) || json.Unmarshal(s.Marks, &t) != nil {
		return chronicled{}, "", errNotOurs
	}
	return t, s.Version, nil
}
