package sessiontest

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyway/internal/seal"
	"keyway/internal/session"
)

// Generation is a manager with these versions of the three secrets, the active one
// first, that binds sessions to the browser.
func Generation(t testing.TB, shared *session.Shared, salt, key, ua []string) *session.Manager {
	t.Helper()
	return ManagerOn(t, shared, func(o *session.Options) {
		*o = Options(t, shared, Ring(t, session.SecretSalt, salt...), Ring(t, session.SecretRecord, key...))
		hasher, err := seal.NewHasher(Ring(t, session.SecretUA, ua...), session.PurposeUA)
		if err != nil {
			t.Fatal(err)
		}
		o.UA = hasher
		o.Binding = session.BindingOptions{UserAgent: true}
	})
}

// CountIs fails the test unless what rests on what is as told.
func CountIs(t testing.TB, m *session.Manager, salt, key, ua map[string]int) {
	t.Helper()
	got, err := m.CountVersions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]map[string]int{
		session.SecretSalt: {got.Salt, salt}, session.SecretRecord: {got.SessionKey, key}, session.SecretUA: {got.UA, ua},
	} {
		if !maps.Equal(c[0], c[1]) {
			t.Errorf("%s: counted %v, want %v", name, c[0], c[1])
		}
	}
}

// Rotation turns each secret that a store's sessions rest on, with sessions in it
// and writers at work. store must be empty.
func Rotation(t *testing.T, store session.Store) {
	t.Helper()
	shared := session.NewShared(store, session.SharedOptions{})
	defer shared.Close(t.Context())
	ctx := t.Context()
	const n = 100
	type count = map[string]int
	one := Generation(t, shared, []string{"s1"}, []string{"k1"}, []string{"u1"})
	headers := make([][]string, 0, 2*n)
	signIns := func(m *session.Manager) {
		t.Helper()
		made := make([][]string, n)
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() {
				c, _, err := m.Create(ctx, session.Record{Provider: "demo", Subject: fmt.Sprint("user ", i)}, Home)
				if err != nil {
					t.Error(err)
					return
				}
				made[i] = Header(c)
			})
		}
		group.Wait()
		headers = append(headers, made...)
	}
	signIns(one)
	CountIs(t, one, count{"s1": n}, count{"k1": n}, count{"u1": n})

	two := Generation(t, shared, []string{"s2", "s1"}, []string{"k2", "k1"}, []string{"u2", "u1"})
	signIns(two)
	CountIs(t, two, count{"s1": n, "s2": n}, count{"k1": n, "k2": n}, count{"u1": n, "u2": n})

	// The session key: everything moves, while users write.
	var writes, failed atomic.Int32
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := w; ; i = (i + 4) % len(headers) {
				select {
				case <-stop:
					return
				default:
				}
				s, err := two.Find(ctx, headers[i], Home)
				if err == nil {
					_, err = two.Update(ctx, s, func(r session.Record) session.Record { r.Scope += "+"; return r })
				}
				if err != nil && failed.Add(1) == 1 {
					t.Errorf("a writer beside Reseal: %v", err)
				}
				writes.Add(1)
			}
		})
	}
	for begun := time.Now(); writes.Load() < 4 && time.Since(begun) < 10*time.Second; {
		<-time.After(time.Millisecond)
	}
	resealed, err := two.Reseal(ctx)
	close(stop)
	writers.Wait()
	if err != nil || resealed > n { // what the writers were first to write, they moved
		t.Errorf("Reseal moved %d: %v; want at most the %d that were under k1", resealed, err, n)
	}
	CountIs(t, two, count{"s1": n, "s2": n}, count{"k2": 2 * n}, count{"u1": n, "u2": n})
	if again, err := two.Reseal(ctx); again != 0 || err != nil {
		t.Errorf("a second Reseal moved %d: %v", again, err)
	}
	plusses := 0
	for _, h := range headers {
		s, err := two.Find(ctx, h, Home)
		if err != nil {
			t.Fatalf("after Reseal: %v", err)
		}
		plusses += len(s.Record().Scope)
	}
	if plusses != int(writes.Load()-failed.Load()) {
		t.Errorf("%d writes are there, of %d", plusses, writes.Load())
	}

	// The old key is gone, and nobody misses it.
	three := Generation(t, shared, []string{"s2", "s1"}, []string{"k2"}, []string{"u2", "u1"})
	for _, h := range headers {
		if _, err := three.Find(ctx, h, Home); err != nil {
			t.Fatalf("without the key before: %v", err)
		}
	}

	// The salt is compromised: what it named ends, and nothing else.
	ended, err := three.EndUnder(ctx, "s1")
	if err != nil || ended != n {
		t.Errorf("EndUnder ended %d: %v; want %d", ended, err, n)
	}
	CountIs(t, three, count{"s2": n}, count{"k2": n}, count{"u2": n})
	for i, h := range headers {
		if _, err := three.Find(ctx, h, Home); (err == nil) != (i >= n) {
			t.Fatalf("session %d after EndUnder: %v", i, err)
		}
	}
}
