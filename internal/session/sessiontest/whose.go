package sessiontest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"keyway/internal/session"
)

// Listed makes sessions here, lists and ends them there, and sees here what has
// become of them. The store must be empty. The two may be one.
func Listed(t *testing.T, here, there *session.Manager) {
	t.Helper()
	ctx := t.Context()
	const issuer, users, each = "https://idp.example", 10, 15
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	headers := map[string][]string{} // by public id
	for u := range users {
		for n := range each {
			h, s := SignIn(t, here, session.Record{
				Provider: "demo", Issuer: issuer, Subject: fmt.Sprint("user ", u), SID: fmt.Sprintf("sid %d %d", u, n), IssuedAt: at, AuthTime: at,
				Email: "someone@example.com", Name: "Some One",
			})
			headers[s.PublicID()] = h
		}
	}
	list := func(w session.Whose, most, want int, more bool) []session.Info {
		t.Helper()
		found, rest, err := there.List(ctx, session.ListOptions{Whose: w, Most: most})
		if err != nil || len(found) != want || rest != more {
			t.Fatalf("List %+v of at most %d: %d, more %v, %v; want %d, %v", w, most, len(found), rest, err, want, more)
		}
		ids := map[string]bool{}
		for _, one := range found {
			if ids[one.PublicID] || headers[one.PublicID] == nil {
				t.Errorf("%q is listed twice, or does not exist", one.PublicID)
			}
			ids[one.PublicID] = true
		}
		return found
	}
	list(session.Whose{}, users*each, users*each, false)
	list(session.Whose{}, 1000, users*each, false)
	list(session.Whose{}, users*each-1, users*each-1, true)
	list(session.Whose{}, 1, 1, true)
	list(session.Whose{Issuer: issuer, Subject: "user 3"}, 7, 7, true)
	list(session.Whose{Issuer: issuer, Subject: "nobody"}, 7, 0, false)
	one := list(session.Whose{Issuer: issuer, SID: "sid 3 4"}, 7, 1, false)[0]
	if one.Subject != "user 3" || one.Issuer != issuer || one.Email != "someone@example.com" || one.Name != "Some One" || one.Provider != "demo" ||
		!one.AuthTime.Equal(at) || one.CreatedAt.Before(at) || !one.AbsoluteExpiry.After(time.Now()) || !one.Expires.After(time.Now()) {
		t.Errorf("listed as %+v", one)
	}

	rec, err := there.EndByPublicID(ctx, one.PublicID)
	if err != nil || rec.PublicID != one.PublicID || rec.Subject != "user 3" {
		t.Fatalf("EndByPublicID: %v, %v", rec, err)
	}
	for _, id := range []string{one.PublicID, "", "nobody's", headers[one.PublicID][0]} {
		if _, err := there.EndByPublicID(ctx, id); !errors.Is(err, session.ErrNone) {
			t.Errorf("EndByPublicID of %q: %v, want ErrNone", id, err)
		}
	}
	ended, err := there.EndAll(ctx, session.Whose{Issuer: issuer, Subject: "user 5"}, time.Time{})
	if err != nil || len(ended) != each {
		t.Fatalf("EndAll: %d, %v", len(ended), err)
	}
	gone := map[string]bool{one.PublicID: true}
	for _, r := range ended {
		gone[r.PublicID] = true
	}
	for id, h := range headers {
		// Here they are found a moment later, at the latest.
		for deadline := time.Now().Add(time.Second); ; <-time.After(5 * time.Millisecond) {
			_, err := here.Find(ctx, h, Home)
			if errors.Is(err, session.ErrEnded) == gone[id] {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v, ended %v", id, err, gone[id])
			}
		}
	}
	list(session.Whose{}, 1000, users*each-each-1, false)
	list(session.Whose{Issuer: issuer, Subject: "user 5"}, 7, 0, false)
}
