package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/session/redis"
	"keyway/internal/session/sessiontest"
	"keyway/internal/session/storetest"
	"keyway/internal/testkit/redisserver"
	"keyway/internal/threat"
)

// The client looks at a cluster's topology again a second after it changed, on a
// goroutine that sleeps until then, closed or not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

func open(t testing.TB, url string) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), redis.Options{URL: secret.NewValue([]byte(url)), Prefix: "test:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// admin sends one command, as an operator would.
func admin(t testing.TB, url string, command ...string) rueidis.RedisResult {
	t.Helper()
	o := rueidis.MustParseURL(url)
	o.ForceSingleClient, o.DisableCache = true, true
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := c.Do(t.Context(), c.B().Arbitrary(command...).Build())
	if err := r.Error(); err != nil {
		t.Fatalf("%q: %v", command, err)
	}
	return r
}

func TestConformance(t *testing.T) {
	server := redisserver.Start(t)
	storetest.Run(t, func(t *testing.T) session.Store {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, server.URL())
	})
}

// A cluster refuses scripts and pipelines whose keys are not in one slot, so one
// node shows what many would.
func TestConformanceOnACluster(t *testing.T) {
	server := redisserver.Start(t, redisserver.Args("--cluster-enabled", "yes"))
	admin(t, server.URL(), "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	storetest.Eventually(t, "the cluster is formed", func() bool {
		info, _ := admin(t, server.URL(), "CLUSTER", "INFO").ToString()
		return strings.Contains(info, "cluster_state:ok")
	})
	storetest.Run(t, func(t *testing.T) session.Store {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, server.URL()+"?addr="+server.Addr())
	})
}

func create(t testing.TB, s session.Store) session.Key {
	t.Helper()
	k := storetest.NewKey()
	if _, err := s.Create(t.Context(), k, []byte("one"), time.Minute); err != nil {
		t.Fatal(err)
	}
	return k
}

func get(t testing.TB, s session.Store, k session.Key) session.Item {
	t.Helper()
	it, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func TestAnotherClientsChangesAreTold(t *testing.T) {
	threat.Covers(t, 27)
	server := redisserver.Start(t)
	a, b := open(t, server.URL()), open(t, server.URL())
	k := create(t, a)
	told(t, "replace", a, k, func() error {
		_, err := b.Replace(t.Context(), k, get(t, a, k).Revision, []byte("two"))
		return err
	})
	told(t, "delete", a, k, func() error { return b.Delete(t.Context(), k) })
	k = create(t, a)
	told(t, "flush", a, k, func() error { admin(t, server.URL(), "FLUSHALL"); return nil })
	if _, err := a.Get(t.Context(), k); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("after FLUSHALL: %v", err)
	}
}

func told(t *testing.T, what string, s session.Store, k session.Key, change func() error) {
	t.Helper()
	get(t, s, k)
	h, stop := storetest.Listen(s, k)
	defer stop()
	before := h.Count()
	start := time.Now()
	if err := change(); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, what+" is told", func() bool { return h.Count() > before })
	if took := time.Since(start); took > time.Second {
		t.Errorf("%s: told after %v", what, took)
	}
}

func TestLogoutIsFinalOnEveryReplica(t *testing.T) {
	threat.Covers(t, 27)
	server := redisserver.Start(t)
	here, there := sessiontest.Manager(t, open(t, server.URL()), nil), sessiontest.Manager(t, open(t, server.URL()), nil)
	for range 20 {
		header, _ := sessiontest.SignIn(t, here, sessiontest.NewIdP(time.Hour, 0).Grant("ada"))
		var s *session.Session
		for _, m := range []*session.Manager{here, there, there} { // cached on both
			var err error
			if s, err = m.Find(t.Context(), header, sessiontest.Home); err != nil {
				t.Fatal(err)
			}
		}
		stream, stop := there.Watch(t.Context(), s)
		defer stop()
		if err := here.End(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		if _, err := here.Find(t.Context(), header, sessiontest.Home); !errors.Is(err, session.ErrEnded) {
			t.Fatalf("where it was ended: %v", err)
		}
		storetest.Eventually(t, "the other replica refuses", func() bool {
			_, err := there.Find(t.Context(), header, sessiontest.Home)
			return errors.Is(err, session.ErrEnded)
		})
		<-stream.Done()
		if took := time.Since(ended); took > time.Second {
			t.Errorf("noticed after %v", took)
		}
		if _, err := there.Find(t.Context(), header, sessiontest.Home); !errors.Is(err, session.ErrEnded) {
			t.Fatalf("it came back: %v", err)
		}
	}
}

func TestASessionInUseCostsNoTrip(t *testing.T) {
	server := redisserver.Start(t)
	m := sessiontest.Manager(t, open(t, server.URL()), nil)
	header, _ := sessiontest.SignIn(t, m, sessiontest.NewIdP(time.Hour, 0).Grant("ada"))
	gets := func() (n int) {
		info, err := admin(t, server.URL(), "INFO", "commandstats").ToString()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(info) {
			fmt.Sscanf(line, "cmdstat_get:calls=%d,", &n)
		}
		return n
	}
	start, before := time.Now(), gets()
	for range 1000 {
		if _, err := m.Find(t.Context(), header, sessiontest.Home); err != nil {
			t.Fatal(err)
		}
	}
	if n, most := gets()-before, 1+int(time.Since(start)/(5*time.Second)); n > most {
		t.Errorf("%d trips for 1,000 requests, want %d", n, most)
	}
}

func TestRefreshStampede(t *testing.T) {
	threat.Covers(t, 65)
	server := redisserver.Start(t)
	a, b := sessiontest.Manager(t, open(t, server.URL()), nil), sessiontest.Manager(t, open(t, server.URL()), nil)
	sessiontest.Stampede(t, a, b, 4*time.Second) // beyond the first renewal of the lease
}

func TestKeysTurnUnderManySessions(t *testing.T) {
	server := redisserver.Start(t)
	sessiontest.Rotation(t, open(t, server.URL()))
}

// within fails the test if fn takes longer.
func within(t testing.TB, most time.Duration, what string, fn func()) {
	t.Helper()
	start := time.Now()
	fn()
	if took := time.Since(start); took > most {
		t.Errorf("%s took %v, want at most %v", what, took, most)
	}
}

func TestRedisAway(t *testing.T) {
	for name, tc := range map[string]struct {
		away, back func(*redisserver.Server)
		kept       bool
	}{
		"hangs":     {(*redisserver.Server).Pause, (*redisserver.Server).Resume, true},
		"restarts":  {(*redisserver.Server).Kill, (*redisserver.Server).Restart, true},
		"loses all": {(*redisserver.Server).Kill, (*redisserver.Server).Restart, false},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 67)
			var opts []redisserver.Option
			if tc.kept {
				opts = append(opts, redisserver.KeepData())
			}
			server := redisserver.Start(t, opts...)
			store := open(t, server.URL())
			m := sessiontest.Manager(t, store, nil)
			header, s := sessiontest.SignIn(t, m, sessiontest.NewIdP(time.Hour, 0).Grant("ada"))
			if _, err := m.Find(t.Context(), header, sessiontest.Home); err != nil {
				t.Fatal(err)
			}
			stream, stop := m.Watch(t.Context(), s)
			defer stop()

			tc.away(server)
			// Everything at once, as in a busy gateway, again and again.
			for round := range 3 {
				var wg sync.WaitGroup
				for range 200 {
					wg.Go(func() {
						within(t, 2*time.Second, "a call", func() {
							_, err := store.Get(t.Context(), s.Key())
							if err == nil || errors.Is(err, session.ErrNotFound) {
								t.Errorf("round %d: got %v, want an error that says nothing about the session", round, err)
							}
						})
					})
				}
				for what, call := range map[string]func(context.Context) error{
					"Create": func(ctx context.Context) error {
						_, err := store.Create(ctx, storetest.NewKey(), nil, time.Minute)
						return err
					},
					"Replace": func(ctx context.Context) error { _, err := store.Replace(ctx, s.Key(), 1, nil); return err },
					"Extend":  func(ctx context.Context) error { return store.Extend(ctx, s.Key(), time.Minute) },
					"Count":   func(ctx context.Context) error { _, err := store.Count(ctx); return err },
					"Acquire": func(ctx context.Context) error { _, err := store.Acquire(ctx, "n", "o", time.Minute); return err },
					"Ping":    store.Ping,
				} {
					wg.Go(func() {
						within(t, 2*time.Second, what, func() {
							err := call(t.Context())
							for _, wrong := range []error{nil, session.ErrNotFound, session.ErrExists, session.ErrConflict} {
								if errors.Is(err, wrong) {
									t.Errorf("%s: %v", what, err)
								}
							}
						})
					})
				}
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					within(t, 500*time.Millisecond, "a call with a deadline of 100 ms", func() { store.Get(ctx, s.Key()) })
				})
				wg.Wait()
			}
			storetest.Eventually(t, "no copy is used any more", func() bool {
				_, err := m.Find(t.Context(), header, sessiontest.Home)
				return errors.Is(err, session.ErrUnavailable) && !errors.Is(err, session.ErrEnded)
			})
			if stream.Err() != nil {
				t.Errorf("a stream was ended: %v", context.Cause(stream))
			}

			tc.back(server)
			if !tc.kept {
				storetest.Eventually(t, "the loss is known", func() bool {
					_, err := m.Find(t.Context(), header, sessiontest.Home)
					return errors.Is(err, session.ErrEnded)
				})
				<-stream.Done()
				header, _ = sessiontest.SignIn(t, m, sessiontest.NewIdP(time.Hour, 0).Grant("ada"))
			}
			storetest.Eventually(t, "all is well again", func() bool {
				_, err := m.Find(t.Context(), header, sessiontest.Home)
				return err == nil
			})
			if stream.Err() != nil && tc.kept {
				t.Errorf("a stream was ended: %v", context.Cause(stream))
			}
		})
	}
}

// What changed while a replica was cut off was not told to it.
func TestALostConnectionCountsAsAChange(t *testing.T) {
	threat.Covers(t, 27)
	server := redisserver.Start(t)
	a, b := open(t, server.URL()), open(t, server.URL())
	m := sessiontest.Manager(t, a, nil)
	header, s := sessiontest.SignIn(t, m, sessiontest.NewIdP(time.Hour, 0).Grant("ada"))
	if _, err := m.Find(t.Context(), header, sessiontest.Home); err != nil {
		t.Fatal(err)
	}
	h, stop := storetest.Listen(a, storetest.NewKey())
	defer stop()
	admin(t, server.URL(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	storetest.Eventually(t, "b ends the session", func() bool { return b.Delete(t.Context(), s.Key()) == nil })
	storetest.Eventually(t, "the loss is told", func() bool { return h.Count() > 0 })
	if _, err := m.Find(t.Context(), header, sessiontest.Home); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Find: %v", err)
	}
}

func TestStartWhileRedisIsAway(t *testing.T) {
	threat.Covers(t, 67)
	server := redisserver.Start(t)
	server.Kill()
	var s *redis.Store
	within(t, 3*time.Second, "Open", func() { s = open(t, server.URL()) })
	if _, err := s.Get(t.Context(), storetest.NewKey()); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	server.Restart()
	storetest.Eventually(t, "it connects by itself", func() bool { return s.Ping(t.Context()) == nil })
}

func TestWhatRedisRefusesIsSaidAtStart(t *testing.T) {
	threat.Covers(t, 23)
	server := redisserver.Start(t, redisserver.Password("hush-hush"))
	open(t, server.URL())
	for name, url := range map[string]string{
		"wrong password": strings.Replace(server.URL(), "hush-hush", "hush-other", 1),
		"no password":    strings.Replace(server.URL(), ":hush-hush@", "", 1),
		"not a URL":      "redis://:hush-hush@host:port",
		"bad escape":     "redis://:hush%zz@host:1",
		"other scheme":   "http://:hush-hush@host:1",
		"bad database":   "redis://:hush-hush@host:1/hush",
		"two slashes":    "redis://:hush-hush@host:1/1/hush",
		"RESP2":          server.URL() + "?protocol=2",
		"no tracking":    server.URL() + "?client_cache=0",
	} {
		s, err := redis.Open(t.Context(), redis.Options{URL: secret.NewValue([]byte(url))})
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error shows the URL: %v", name, err)
		}
	}
}

func TestNoCallOutlivesTheStore(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, server.URL())
	server.Pause()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { s.Get(t.Context(), storetest.NewKey()) })
	}
	wg.Wait()
	within(t, 8*time.Second, "Close", func() { s.Close() })
}
