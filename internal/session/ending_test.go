package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
)

// A key that came since is fetched, and all are ended, each once.
func TestEndingGoesOnWithTheKeysThatCame(t *testing.T) {
	store := memoryStore(t)
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	salt, ua := []string{"s1"}, []string{"u1"}
	newer := sessiontest.Generation(t, shared, salt, []string{"k2", "k1"}, ua)
	theirs, _ := sessiontest.SignIn(t, newer, signedIn(idp, "ada", "", time.Now()))
	current := sessiontest.Generation(t, shared, salt, []string{"k1"}, ua)
	ours, _ := sessiontest.SignIn(t, current, signedIn(idp, "ada", "", time.Now()))
	w := session.Whose{Issuer: idp, Subject: "ada"}

	cut := session.Ending{Current: func() *session.Manager { return current }, Missing: func(context.Context, error) error { return errors.New("cut off") }}
	ended, err := cut.EndAll(t.Context(), w, time.Time{})
	wantErr(t, "EndAll where nobody can know", err, session.ErrUnavailable)
	if len(ended) != 1 || lives(t, newer, ours) || !lives(t, newer, theirs) {
		t.Errorf("%d are ended, want the one that can be read", len(ended))
	}

	told := 0
	e := session.Ending{Current: func() *session.Manager { return current }, Missing: func(_ context.Context, err error) error {
		if told++; !session.IsUnknownVersion(err) {
			t.Errorf("told of %v", err)
		}
		current = newer
		return nil
	}}
	ended, err = e.EndAll(t.Context(), w, time.Time{})
	if err != nil || len(ended) != 1 || told != 1 || lives(t, newer, theirs) {
		t.Errorf("%d are ended (%v), asked %d times", len(ended), err, told)
	}
}

// A store that is away for a moment is tried again, for a bounded time; what is asked
// for wrongly is not.
func TestEndingTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := &failing{Store: memoryStore(t), holder: true}
		m := sessiontest.Manager(t, failing, nil)
		tries := 0
		e := session.Ending{Current: func() *session.Manager { tries++; return m }}
		w := session.Whose{Issuer: idp, Subject: "ada"}
		_, err := e.EndAll(t.Context(), w, time.Time{})
		wantErr(t, "EndAll", err, session.ErrUnavailable)
		if tries != 3 {
			t.Errorf("%d tries, want 3", tries)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		tries = 0
		if _, err = e.EndAll(ctx, w, time.Time{}); err == nil || tries != 1 {
			t.Errorf("%d tries (%v) for somebody who does not wait, want 1", tries, err)
		}
		tries = 0
		_, err = e.EndAll(t.Context(), session.Whose{}, time.Time{})
		wantErr(t, "EndAll of nobody", err, session.ErrWhose)
		if tries != 1 {
			t.Errorf("%d tries, want 1", tries)
		}
		failing.holder, tries = false, 0
		if _, err = e.EndAll(t.Context(), w, time.Time{}); err != nil || tries != 1 {
			t.Errorf("%d tries: %v", tries, err)
		}
	})
}
