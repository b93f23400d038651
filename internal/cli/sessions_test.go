package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"net/http/httptest"

	"keyway/internal/admin"
)

// fakeSessions is a fleet where ada is signed in three times and grace once.
type fakeSessions struct {
	mu    sync.Mutex
	lives []admin.Session
}

func newFakeSessions() *fakeSessions {
	now := time.Now()
	f := &fakeSessions{}
	for i, id := range []string{"ada-phone", "ada-laptop", "ada_desk", "grace-1"} {
		subject, name, email := "ada", "Ada \x1b[2JLovelace", "ada@example.com"
		if strings.HasPrefix(id, "grace") {
			subject, name, email = "grace", "", ""
		}
		// Half a minute beyond, so that a slow machine reads the same.
		began := now.Add(-time.Duration(i+3)*time.Minute - 30*time.Second)
		f.lives = append(f.lives, admin.Session{
			PublicID: id, Provider: "demo", Issuer: "https://idp.example", Subject: subject, Name: name, Email: email,
			CreatedAt: began, AuthTime: began, ExpiresAt: now.Add(10*time.Minute + 30*time.Second), AbsoluteExpiresAt: now.Add(time.Hour),
		})
	}
	return f
}

func (f *fakeSessions) are(w admin.Whose) func(admin.Session) bool {
	return func(s admin.Session) bool {
		return (w.Subject == "" || s.Subject == w.Subject) && (w.Issuer == "" || s.Issuer == w.Issuer) && w.SID == ""
	}
}

func (f *fakeSessions) List(_ context.Context, w admin.Whose, most int) ([]admin.Session, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.Subject == "away" {
		return nil, false, errors.New("the session store does not answer")
	}
	var found []admin.Session
	for _, s := range f.lives {
		if f.are(w)(s) {
			found = append(found, s)
		}
	}
	return found[:min(most, len(found))], len(found) > most, nil
}

func (f *fakeSessions) End(_ context.Context, id, _ string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.lives)
	f.lives = slices.DeleteFunc(f.lives, func(s admin.Session) bool { return s.PublicID == id })
	return len(f.lives) < before, nil
}

func (f *fakeSessions) EndAll(_ context.Context, w admin.Whose, _ string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.Subject == "away" {
		return 0, errors.New("the session store does not answer")
	}
	before := len(f.lives)
	f.lives = slices.DeleteFunc(f.lives, f.are(w))
	return before - len(f.lives), nil
}

// A variable that is not set, or an id that is a path, must not end anything else.
func TestNothingIsEndedByMistake(t *testing.T) {
	f := newFakeSessions()
	server := httptest.NewServer(admin.New(admin.Options{Sessions: f, Loopback: true}))
	t.Cleanup(server.Close)
	for _, args := range [][]string{
		{}, {"--subject", "", "--yes"}, {"--subject", "ada", "--sid", "", "--yes"}, {"--issuer", "https://idp.example", "--yes"}, {"--yes"}, {""},
		{"?subject=ada"}, {".."}, {"../sessions"}, {"a/b"}, {"ada-phone", "%3Fsubject=ada"}, {"ada-phone", "--subject", "ada", "--yes"}, {"--subject", "ada"},
	} {
		code, stdout, stderr := run(t.Context(), server.URL, append([]string{"sessions", "end"}, args...)...)
		if code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("%q: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if len(f.lives) != 4 {
		t.Errorf("%d sessions are left", len(f.lives))
	}
}
