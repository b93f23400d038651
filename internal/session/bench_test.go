package session_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"keyway/internal/secret"
	"keyway/internal/session"
	"keyway/internal/session/sessiontest"
)

// usual is a record of usual size: an access token and an ID token of 1 kB each.
func usual(sub string) session.Record {
	r := sessiontest.NewIdP(time.Hour, 0).Grant(sub)
	r.Email, r.Name, r.Roles = sub+"@example.com", "Ada Lovelace", []string{"user", "editor"}
	r.AccessToken = secret.NewValue([]byte(strings.Repeat("a", 1000)))
	r.IDToken = secret.NewValue([]byte(strings.Repeat("i", 1000)))
	return r
}

func BenchmarkFind(b *testing.B) {
	for name, binding := range map[string]session.BindingOptions{
		"cached":        {},
		"cached, bound": {PrefixV4: 24, UserAgent: true},
	} {
		b.Run(name, func(b *testing.B) {
			m := sessiontest.Manager(b, memoryStore(b), func(o *session.Options) { o.Binding, o.Idle = binding, time.Hour })
			c, _, err := m.Create(b.Context(), usual("ada"), sessiontest.Home)
			if err != nil {
				b.Fatal(err)
			}
			header := sessiontest.Header(c)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := m.Find(b.Context(), header, sessiontest.Home); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
	b.Run("not cached", func(b *testing.B) {
		const n = 50_000 // more than the cache holds
		store := memoryStore(b)
		shared := session.NewShared(store, session.SharedOptions{CacheBytes: 1})
		defer shared.Close(b.Context())
		m := sessiontest.ManagerOn(b, shared, nil)
		headers := make([][]string, n)
		for i := range headers {
			c, _, err := m.Create(b.Context(), usual("ada"), sessiontest.Home)
			if err != nil {
				b.Fatal(err)
			}
			headers[i] = sessiontest.Header(c)
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, err := m.Find(b.Context(), headers[i%n], sessiontest.Home); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("anonymous", func(b *testing.B) {
		m := sessiontest.Manager(b, memoryStore(b), nil)
		b.ReportAllocs()
		for b.Loop() {
			m.Find(b.Context(), []string{"theme=dark; lang=en"}, sessiontest.Home)
		}
	})
}

// BenchmarkMemory prints what 100,000 sessions take: as they rest in the memory
// store, and what they take besides when all of them are in use.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		before := heap()
		store := memoryStore(b)
		shared := session.NewShared(store, session.SharedOptions{CacheBytes: 4 << 30})
		m := sessiontest.ManagerOn(b, shared, nil)
		headers := make([]*http.Cookie, n)
		for i := range headers {
			c, _, err := m.Create(b.Context(), usual(fmt.Sprint("user-", i)), sessiontest.Home)
			if err != nil {
				b.Fatal(err)
			}
			headers[i] = c
		}
		rest := heap()
		for _, c := range headers {
			if _, err := m.Find(b.Context(), []string{c.Name + "=" + c.Value}, sessiontest.Home); err != nil {
				b.Fatal(err)
			}
		}
		used := heap()
		b.ReportMetric(float64(rest-before)/(1<<20), "MB/100k-at-rest")
		b.ReportMetric(float64(used-rest)/(1<<20), "MB/100k-in-use")
		runtime.KeepAlive(headers)
		shared.Close(b.Context())
		store.Close()
	}
	b.ReportMetric(0, "ns/op") // means nothing here
}

func heap() uint64 {
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapAlloc
}
