package embedded_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/embedded"
	"keyway/internal/session/sessiontest"
)

// Who has the file finds nobody in it, and somebody's sessions are found after a
// restart.
func TestTheFileTellsNobodysName(t *testing.T) {
	dir := folder(t)
	const issuer = "https://idp.example"
	sign := func(s session.Store) *session.Session {
		_, one := sessiontest.SignIn(t, sessiontest.Manager(t, s, nil), session.Record{
			Issuer: issuer, Subject: "hush-subject", SID: "hush-session-id", Email: "hush-mail@example.com", Name: "hush-name", IssuedAt: time.Now().Add(time.Hour),
		})
		return one
	}
	store := open(t, dir)
	s := sign(store)
	m := sessiontest.Manager(t, store, nil)
	if _, err := m.EndAll(t.Context(), session.Whose{Issuer: issuer, Subject: "hush-other"}, time.Time{}); err != nil { // leaves marks
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, embedded.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"hush", issuer, s.PublicID()} {
		if bytes.Contains(file, []byte(h)) {
			t.Errorf("%q is in the file", h)
		}
	}
	again := sessiontest.Manager(t, open(t, dir), nil)
	ended, err := again.EndAll(t.Context(), session.Whose{Issuer: issuer, SID: "hush-session-id"}, time.Time{})
	if err != nil || len(ended) != 1 || ended[0].PublicID != s.PublicID() {
		t.Errorf("after a restart %d are found, %v", len(ended), err)
	}
}
