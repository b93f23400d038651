package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/limit"
)

// Counters are limit.Counters beside the sessions, for all replicas. They are safe
// for concurrent use. Each prefix and account that was counted lately has
//
//	n:<name>  when all that was allowed would be through at an even pace, in µs of Redis' clock
//
// which expires at that time.
type Counters struct {
	store *Store
	name  func([]byte) (string, error)
	take  *rueidis.Lua
}

var _ limit.Counters = (*Counters)(nil)

// Counters are the store's. name is a keyed hash: addresses and accounts are personal
// data, and there are so few of them that a plain hash hides none. Replicas that name
// alike count together; a name that has changed begins at nothing.
func (s *Store) Counters(name func([]byte) (string, error)) *Counters {
	return &Counters{
		store: s, name: name,

		// limit.Rate.Next, in µs. KEYS counter; ARGV count, per in µs, how many. Returns
		// whether they are allowed, and how long until one more is, or they are. A string
		// that is no number, or of another type, is somebody else's, and overwritten.
		take: rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local per = tonumber(ARGV[2])
local each = math.max(math.floor(per / ARGV[1]), 1)
local held = redis.pcall('GET', KEYS[1])
local at = type(held) == 'string' and tonumber(held) or 0
at = math.min(math.max(at, now), now + per)
local all = each * math.min(math.max(tonumber(ARGV[3]), 1), tonumber(ARGV[1]))
local over = at + all - (now + per)
if over > 0 then return {0, over} end
at = at + all
redis.call('SET', KEYS[1], string.format('%.0f', at), 'PX', math.ceil((at - now) / 1000))
return {1, math.max(at + each - (now + per), 0)}`, rueidis.WithLoadSHA1(true)),
	}
}

// Take implements limit.Counters. It is one round trip.
func (c *Counters) Take(ctx context.Context, k limit.Key, rate limit.Rate, n int) (wait time.Duration, ok bool, err error) {
	name, err := c.name(k.AppendTo(make([]byte, 0, 64)))
	if err != nil {
		return 0, false, err
	}
	type result struct {
		wait time.Duration
		ok   bool
	}
	r, err := call(ctx, c.store, func(ctx context.Context, client rueidis.Client) (result, error) {
		said, err := c.take.Exec(ctx, client, []string{c.store.prefix + "n:" + name},
			[]string{strconv.Itoa(rate.Count), strconv.FormatInt(rate.Per.Microseconds(), 10), strconv.Itoa(n)}).AsIntSlice()
		if err != nil {
			return result{}, err
		}
		if len(said) != 2 {
			return result{}, fmt.Errorf("session store: expected two numbers, found %d", len(said))
		}
		return result{time.Duration(said[1]) * time.Microsecond, said[0] == 1}, nil
	})
	return r.wait, r.ok, err
}
