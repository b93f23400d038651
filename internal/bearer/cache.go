package bearer

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// Bounds of what is remembered, and of what is asked at once.
const (
	// DefaultCacheBytes is for answers about tokens that are good.
	DefaultCacheBytes = 16 << 20
	// freshFor is how long an answer is used again at most: how long a revocation
	// may take to be noticed.
	freshFor = time.Minute
	// refusedFor is shorter: a token may be asked about before it becomes valid.
	refusedFor = 10 * time.Second
	maxRefused = 4096
	// maxAsking is how many tokens one provider is asked about at once.
	maxAsking = 64
	// maxVersions is how many of the salt's versions answers are looked for under.
	maxVersions = 3
)

// key finds an answer. It is compared as a whole: no text of one part can be
// taken for another's.
type key struct {
	entry, issuer, asker string
	version              string // of the salt
	sum                  [sha256.Size]byte
}

// answer is what a provider said, once. Nobody changes it.
type answer struct {
	claims *claims // nil: the token is not active
	till   time.Time
	weight uint32
}

// Cache remembers answers to introspection in bounded memory, for the life of
// the process. Safe for concurrent use. Close it when it is not needed any more.
type Cache struct {
	good, bad *otter.Cache[key, *answer] // apart, so that junk drives nothing out
	flights   singleflight.Group

	mu       sync.Mutex
	versions []string // of the salt, that answers were put under; newest last
	gates    map[string]chan struct{}
}

// NewCache makes a cache that holds about bytes of answers; 0 means
// [DefaultCacheBytes].
func NewCache(bytes uint64) *Cache {
	if bytes == 0 {
		bytes = DefaultCacheBytes
	}
	return &Cache{
		good: otter.Must(&otter.Options[key, *answer]{
			MaximumWeight:    bytes,
			Weigher:          func(_ key, a *answer) uint32 { return a.weight },
			ExpiryCalculator: otter.ExpiryWriting[key, *answer](freshFor), // frees the memory
		}),
		bad: otter.Must(&otter.Options[key, *answer]{
			MaximumSize:      maxRefused,
			ExpiryCalculator: otter.ExpiryWriting[key, *answer](refusedFor),
		}),
		gates: map[string]chan struct{}{},
	}
}

// Close ends what the cache does in the background.
func (c *Cache) Close() {
	for _, part := range []*otter.Cache[key, *answer]{c.good, c.bad} {
		part.InvalidateAll()
		part.StopAllGoroutines()
	}
}

func (c *Cache) get(k key, now time.Time) *answer {
	for _, part := range []*otter.Cache[key, *answer]{c.good, c.bad} {
		if a, ok := part.GetIfPresent(k); ok && now.Before(a.till) {
			return a
		}
	}
	return nil
}

func (c *Cache) put(k key, a *answer) {
	if a.claims == nil {
		c.good.Invalidate(k)
		c.bad.Set(k, a)
		return
	}
	c.bad.Invalidate(k)
	c.good.Set(k, a)
}

// under says which versions of the salt to look under: the active one first,
// then those before it. It remembers the active one.
func (c *Cache) under(active string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.versions, active) {
		c.versions = append(c.versions, active)
		c.versions = slices.Clone(c.versions[max(0, len(c.versions)-maxVersions):])
	}
	order := []string{active}
	for _, v := range slices.Backward(c.versions) {
		if v != active {
			order = append(order, v)
		}
	}
	return order
}

// asking is the entry's gate: what outlives a generation, as what it bounds does.
func (c *Cache) asking(name string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gates[name] == nil {
		c.gates[name] = make(chan struct{}, maxAsking)
	}
	return c.gates[name]
}
