package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

const issuer = "https://idp.example"

// Ended on one replica, a session that another has opened in its memory is over within
// a second, and so are its streams.
func TestEndAllIsSeenByOtherReplicas(t *testing.T) {
	threat.Covers(t, 33)
	server := redisserver.Start(t)
	here, there := sessiontest.Manager(t, open(t, server.URL()), nil), sessiontest.Manager(t, open(t, server.URL()), nil)
	var headers [][]string
	var streams []context.Context
	for i := range 20 {
		header, s := sessiontest.SignIn(t, here, session.Record{Issuer: issuer, Subject: "ada", SID: fmt.Sprint(i), IssuedAt: time.Now()})
		if _, err := here.Find(t.Context(), header, sessiontest.Home); err != nil { // it is cached
			t.Fatal(err)
		}
		ctx, stop := here.Watch(t.Context(), s)
		defer stop()
		headers, streams = append(headers, header), append(streams, ctx)
	}
	other, _ := sessiontest.SignIn(t, here, session.Record{Issuer: issuer, Subject: "grace", IssuedAt: time.Now()})
	ended, err := there.EndAll(t.Context(), session.Whose{Issuer: issuer, Subject: "ada"}, time.Time{})
	if err != nil || len(ended) != len(headers) {
		t.Fatalf("ended %d: %v", len(ended), err)
	}
	within(t, time.Second, "all streams end", func() {
		for _, ctx := range streams {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), session.ErrEnded) {
				t.Errorf("a stream ended by %v", context.Cause(ctx))
			}
		}
		for _, h := range headers {
			for {
				_, err := here.Find(t.Context(), h, sessiontest.Home)
				if errors.Is(err, session.ErrEnded) {
					break
				}
				if err != nil {
					t.Error(err)
					break
				}
				<-time.After(time.Millisecond)
			}
		}
	})
	if _, err := here.Find(t.Context(), other, sessiontest.Home); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
}

func TestListedOnRedis(t *testing.T) {
	server := redisserver.Start(t)
	sessiontest.Listed(t, sessiontest.Manager(t, open(t, server.URL()), nil), sessiontest.Manager(t, open(t, server.URL()), nil))
}

// A real store, two replicas, and a provider that signs out whom we are signing in.
func TestALogoutBesideSignInsOnRedis(t *testing.T) {
	threat.Covers(t, 53)
	server := redisserver.Start(t)
	store := open(t, server.URL())
	here, there := sessiontest.Manager(t, store, nil), sessiontest.Manager(t, open(t, server.URL()), nil)
	issued := time.Now()
	for _, w := range []session.Whose{{Issuer: issuer, SID: "s"}, {Issuer: issuer, Subject: "ada"}} {
		var racers sync.WaitGroup
		for range 50 {
			racers.Go(func() {
				_, _, err := here.Create(t.Context(), session.Record{Issuer: issuer, Subject: "ada", SID: "s", IssuedAt: issued}, sessiontest.Home)
				if err != nil && !errors.Is(err, session.ErrEnded) {
					t.Error(err)
				}
			})
		}
		racers.Go(func() {
			if _, err := there.EndAll(t.Context(), w, issued); err != nil {
				t.Error(err)
			}
		})
		racers.Wait()
		if n, err := store.Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%+v: %d sessions are left, %v", w, n, err)
		}
	}
}

// Who reads all that is in Redis finds nobody, and can't look for anybody either: the
// name of a group is not a hash of what is known.
func TestTheStoreTellsNobodysName(t *testing.T) {
	server := redisserver.Start(t)
	m := sessiontest.Manager(t, open(t, server.URL()), nil)
	hush := []string{"hush-subject", "hush-session-id", "hush-mail@example.com", "hush-name", "https://idp.example"}
	_, s := sessiontest.SignIn(t, m, session.Record{Issuer: hush[4], Subject: hush[0], SID: hush[1], Email: hush[2], Name: hush[3], IssuedAt: time.Now()})
	hush = append(hush, s.PublicID())
	if _, err := m.EndAll(t.Context(), session.Whose{Issuer: hush[4], Subject: hush[0], SID: "another"}, time.Time{}); err != nil { // leaves marks
		t.Fatal(err)
	}
	names, err := admin(t, server.URL(), "KEYS", "*").AsStrSlice()
	if err != nil || len(names) < 6 {
		t.Fatalf("%d keys, %v: want a record, its index, three groups and a mark", len(names), err)
	}
	for _, name := range names {
		dump, err := admin(t, server.URL(), "DUMP", name).ToString()
		if err != nil {
			t.Fatal(err)
		}
		// DUMP may compress; what is there in text is there in full, too.
		text := name + dump
		switch kind, _ := admin(t, server.URL(), "TYPE", name).ToString(); kind {
		case "string":
			value, _ := admin(t, server.URL(), "GET", name).ToString()
			text += value
		case "zset":
			members, _ := admin(t, server.URL(), "ZRANGE", name, "0", "-1").AsStrSlice()
			text += strings.Join(members, " ")
		default:
			t.Errorf("%s is a %s", name, kind)
		}
		for _, h := range hush {
			if strings.Contains(text, h) {
				t.Errorf("%q is in %q", h, name)
			}
		}
	}
}

// BenchmarkEndAll ends 1,000 sessions of one user.
func BenchmarkEndAll(b *testing.B) {
	server := redisserver.Start(b)
	m := sessiontest.Manager(b, open(b, server.URL()), nil)
	for b.Loop() {
		b.StopTimer()
		fill(b, m, 1000, func(int) string { return "ada" })
		b.StartTimer()
		if ended, err := m.EndAll(b.Context(), session.Whose{Issuer: issuer, Subject: "ada"}, time.Time{}); err != nil || len(ended) != 1000 {
			b.Fatalf("%d, %v", len(ended), err)
		}
	}
}

// BenchmarkList lists 100 sessions of 10,000 of as many users.
func BenchmarkList(b *testing.B) {
	server := redisserver.Start(b)
	m := sessiontest.Manager(b, open(b, server.URL()), nil)
	fill(b, m, 10_000, func(i int) string { return fmt.Sprint("user ", i) })
	b.ResetTimer()
	for b.Loop() {
		if found, more, err := m.List(b.Context(), session.ListOptions{Most: 100}); err != nil || len(found) != 100 || !more {
			b.Fatalf("%d, %v, %v", len(found), more, err)
		}
	}
}

func fill(b *testing.B, m *session.Manager, n int, subject func(i int) string) {
	b.Helper()
	var hands sync.WaitGroup
	for hand := range 32 {
		hands.Go(func() {
			for i := hand; i < n; i += 32 {
				_, _, err := m.Create(b.Context(), session.Record{Issuer: issuer, Subject: subject(i), SID: fmt.Sprint(i), IssuedAt: time.Now().Add(time.Hour)}, sessiontest.Home)
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	hands.Wait()
}
