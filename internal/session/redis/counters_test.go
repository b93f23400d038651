package redis_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"keyway/internal/limit"
	"keyway/internal/limit/limittest"
	"keyway/internal/session/storetest"
	"keyway/internal/testkit/redisserver"
)

func named(data []byte) (string, error) {
	sum := sha256.Sum256(append([]byte("a key of the tests"), data...))
	return hex.EncodeToString(sum[:16]), nil
}

func TestCountersConformance(t *testing.T) {
	server := redisserver.Start(t)
	limittest.Run(t, func(t *testing.T) limit.Counters {
		admin(t, server.URL(), "FLUSHALL")
		return open(t, server.URL()).Counters(named)
	})
}

var (
	from = netip.MustParseAddr("192.0.2.77")
	few  = limit.Rates{Of: map[limit.Kind]limit.Rate{limit.SignIn: {Count: 6, Per: time.Hour}}}
)

// One address prefix gets the rate once, however many replicas it asks.
func TestReplicasCountTogether(t *testing.T) {
	server := redisserver.Start(t)
	var replicas []*limit.Limiter
	for range 2 {
		replicas = append(replicas, limit.New(few, open(t, server.URL()).Counters(named)))
	}
	allowed := 0
	for i := range 20 {
		if _, ok := replicas[i%2].Take(t.Context(), limit.SignIn, from); ok {
			allowed++
		}
	}
	if allowed != 6 {
		t.Errorf("%d were allowed by two replicas, of 6", allowed)
	}
	for i, r := range replicas {
		wait, spent := r.Spent(limit.SignIn, from)
		if !spent || wait > 10*time.Minute || wait < 9*time.Minute {
			t.Errorf("replica %d: spent %t for %v", i, spent, wait)
		}
	}
}

// So does one account, which pays for what it asks: a batch is let through whole or not
// at all, whichever replica it comes to.
func TestReplicasCountAnAccountTogether(t *testing.T) {
	server := redisserver.Start(t)
	rates := limit.Rates{Of: map[limit.Kind]limit.Rate{limit.Question: {Count: 100, Per: time.Hour}}}
	var replicas []*limit.Limiter
	for range 2 {
		replicas = append(replicas, limit.New(rates, open(t, server.URL()).Counters(named)))
	}
	take := func(replica int, subject string, n int) (time.Duration, bool) {
		return replicas[replica].TakeUser(t.Context(), limit.Question, "main", subject, n)
	}
	for i, c := range []struct {
		subject string
		n       int
		want    bool
	}{{"ada", 50, true}, {"ada", 40, true}, {"ada", 50, false}, {"ada", 50, false}, {"grace", 50, true}, {"ada", 10, true}, {"ada", 1, false}} {
		wait, ok := take(i%2, c.subject, c.n)
		if ok != c.want || !ok && (wait <= 0 || wait > 30*time.Minute) {
			t.Errorf("%d: %s, %d questions: %t, wait %v", i, c.subject, c.n, ok, wait)
		}
	}
	names, err := admin(t, server.URL(), "KEYS", "test:n:*").AsStrSlice()
	if err != nil || len(names) != 2 {
		t.Fatalf("keys %q, %v", names, err)
	}
	for _, name := range names {
		if strings.Contains(name, "ada") || len(name) != len("test:n:")+32 {
			t.Errorf("the key is %s", name)
		}
	}
}

// Who reads Redis learns no address, and nothing stays.
func TestWhatIsCountedNamesNobodyAndExpires(t *testing.T) {
	server := redisserver.Start(t)
	limiter := limit.New(few, open(t, server.URL()).Counters(named))
	limiter.Take(t.Context(), limit.SignIn, from)
	names, err := admin(t, server.URL(), "KEYS", "test:n:*").AsStrSlice()
	if err != nil || len(names) != 1 {
		t.Fatalf("keys %q, %v", names, err)
	}
	if strings.Contains(names[0], "192") || len(names[0]) != len("test:n:")+32 {
		t.Errorf("the key is %s", names[0])
	}
	if ttl, _ := admin(t, server.URL(), "PTTL", names[0]).AsInt64(); ttl <= 0 || ttl > 10*60*1000 {
		t.Errorf("it expires in %d ms, of 10 minutes", ttl)
	}
	// What somebody else left under the name is no outage.
	admin(t, server.URL(), "DEL", names[0])
	admin(t, server.URL(), "LPUSH", names[0], "x")
	if _, ok, err := open(t, server.URL()).Counters(named).Take(t.Context(), limit.KeyOf(limit.SignIn, from, 32, 64), few.Of[limit.SignIn], 1); !ok || err != nil {
		t.Errorf("allowed %t, %v", ok, err)
	}
}

// A Redis that hangs holds nobody up for long; each replica counts by itself
// meanwhile, and goes on from there. How long, package limit tests without a Redis.
func TestRedisHangs(t *testing.T) {
	server := redisserver.Start(t)
	limiter := limit.New(few, open(t, server.URL()).Counters(named))
	for range 3 {
		if _, ok := limiter.Take(t.Context(), limit.SignIn, from); !ok {
			t.Fatal("refused")
		}
	}
	server.Pause()
	began := time.Now()
	for range 3 {
		if _, ok := limiter.Take(t.Context(), limit.SignIn, from); !ok {
			t.Error("refused while Redis hangs")
		}
	}
	if took := time.Since(began); took > 10*time.Second { // a call without a bound never returns
		t.Errorf("three took %v", took)
	}
	if _, ok := limiter.Take(t.Context(), limit.SignIn, from); ok {
		t.Error("allowed beyond the limit while Redis hangs: what was counted before is forgotten")
	}
	server.Resume()
	other := netip.MustParseAddr("192.0.2.78")
	storetest.Eventually(t, "replicas count together again", func() bool {
		fresh := limit.New(few, open(t, server.URL()).Counters(named))
		limiter.Take(t.Context(), limit.SignIn, other)
		for range 6 {
			fresh.Take(t.Context(), limit.SignIn, other)
		}
		_, ok := limiter.Take(t.Context(), limit.SignIn, other)
		return !ok
	})
}

func BenchmarkTakeOnRedis(b *testing.B) {
	server := redisserver.Start(b)
	c := open(b, server.URL()).Counters(named)
	limiter := limit.New(limit.Rates{Of: map[limit.Kind]limit.Rate{limit.SignIn: {Count: limit.MaxCount, Per: time.Second}}}, c)
	b.ReportAllocs()
	for b.Loop() {
		limiter.Take(b.Context(), limit.SignIn, from)
	}
}
