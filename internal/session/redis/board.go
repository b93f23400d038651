package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/fleet"
)

// Board is a fleet.Board and a fleet.Register beside the sessions. It is safe for
// concurrent use. Under the store's prefix it has
//
//	b:<name>         an entry: revision(26) | value; it does not expire
//	f:{fleet}:last   hash of replicas: seen|until|report, times in ms of Redis
//	f:{fleet}:live   sorted set of them by until when they count as live
//	f:{fleet}:keep   sorted set of them by until when they are kept
//	f:{fleet}:since  when the first one spoke
//	b                a channel: the names of entries that were set
//
// A Redis that evicts keys that do not expire (maxmemory-policy allkeys-*) can
// lose these like any other.
type Board struct {
	store                *Store
	compareAndSet        *rueidis.Lua
	putReport, listFleet *rueidis.Lua
	ears                 ears
}

var (
	_ fleet.Board    = (*Board)(nil)
	_ fleet.Register = (*Board)(nil)
)

// Board is the store's board.
func (s *Store) Board() *Board {
	script := func(text string) *rueidis.Lua { return rueidis.NewLuaScript(text, rueidis.WithLoadSHA1(true)) }
	return &Board{
		store: s,

		// KEYS entry; ARGV length of a revision, old revision, new revision, value,
		// channel, name. What is missing has the empty revision. Who may not publish,
		// as a user that Redis 7 made without channels, may write.
		compareAndSet: script(`
if redis.call('GETRANGE', KEYS[1], 0, ARGV[1] - 1) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3] .. ARGV[4])
redis.pcall('PUBLISH', ARGV[5], ARGV[6])
return 1`),

		// KEYS last, live, keep, since; ARGV replica, report, ms to live, ms to keep
		// after that, how many to look at. Who is in the set and has not reported is
		// nobody. Forgets at most 100, so that no call takes long.
		putReport: script(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ms = function(v) return string.format('%.0f', v) end
local till = now + ARGV[3]
redis.call('SET', KEYS[4], ms(now), 'NX')
redis.call('HSET', KEYS[1], ARGV[1], ms(now) .. '|' .. ms(till) .. '|' .. ARGV[2])
redis.call('ZADD', KEYS[2], ms(till), ARGV[1])
redis.call('ZADD', KEYS[3], ms(till + ARGV[4]), ARGV[1])
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ms(now), 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[1], old)
  redis.call('ZREM', KEYS[2], old)
  redis.call('ZREM', KEYS[3], old)
end
local count = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ms(now), '+inf', 'LIMIT', 0, ARGV[5])) do
  local said = redis.call('HGET', KEYS[1], id)
  local live = said and tonumber(string.match(said, '^%d+|(%d+)|'))
  if live and live > now then count = count + 1 else redis.call('ZREM', KEYS[2], id) end
end
return count`),

		// KEYS last, since. Returns now and since in ms, and the hash.
		listFleet: script(`
local t = redis.call('TIME')
return {string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), redis.call('GET', KEYS[2]) or '', redis.call('HGETALL', KEYS[1])}`),
	}
}

func (b *Board) key(name string) string   { return b.store.prefix + "b:" + name }
func (b *Board) fleet(part string) string { return b.store.prefix + "f:{fleet}:" + part }

// Get implements fleet.Board.
func (b *Board) Get(ctx context.Context, name string) ([]byte, fleet.Revision, error) {
	content, err := call(ctx, b.store, func(ctx context.Context, c rueidis.Client) ([]byte, error) {
		content, err := c.Do(ctx, c.B().Get().Key(b.key(name)).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return nil, nil
		}
		return content, err
	})
	switch {
	case err != nil:
		return nil, "", err
	case content == nil:
		return nil, "", nil
	case len(content) < fleet.RevisionLen:
		return nil, "", fmt.Errorf("session store: redis: entry %s: expected a revision and a value, found %d bytes", name, len(content))
	}
	return content[fleet.RevisionLen:], fleet.Revision(content[:fleet.RevisionLen]), nil
}

// CompareAndSet implements fleet.Board.
func (b *Board) CompareAndSet(ctx context.Context, name string, revision fleet.Revision, value []byte) (fleet.Revision, error) {
	if err := fleet.CheckEntry(name, revision, value); err != nil {
		return "", err
	}
	next := fleet.NewRevision()
	set, err := call(ctx, b.store, func(ctx context.Context, c rueidis.Client) (bool, error) {
		return b.compareAndSet.Exec(ctx, c, []string{b.key(name)},
			[]string{strconv.Itoa(fleet.RevisionLen), string(revision), string(next), rueidis.BinaryString(value), b.channel(), name}).AsBool()
	})
	switch {
	case err != nil:
		return "", err
	case !set:
		return "", fleet.ErrConflict
	}
	return next, nil
}

// maxCounted is beyond what makes a difference to how often a fleet speaks, and
// bounds what one report costs Redis: 2 ms or so.
const maxCounted = 2000

// Put implements fleet.Register.
func (b *Board) Put(ctx context.Context, id string, report []byte, live, keep time.Duration) (int, error) {
	count, err := call(ctx, b.store, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return b.putReport.Exec(ctx, c,
			[]string{b.fleet("last"), b.fleet("live"), b.fleet("keep"), b.fleet("since")},
			[]string{id, rueidis.BinaryString(report), wholeMS(live), wholeMS(keep), strconv.Itoa(maxCounted)}).AsInt64()
	})
	return int(count), err
}

// wholeMS may be zero, which an expiry may not.
func wholeMS(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// List implements fleet.Register.
func (b *Board) List(ctx context.Context) (fleet.Listing, error) {
	return call(ctx, b.store, func(ctx context.Context, c rueidis.Client) (fleet.Listing, error) {
		answer, err := b.listFleet.Exec(ctx, c, []string{b.fleet("last"), b.fleet("since")}, nil).ToArray()
		if err != nil {
			return fleet.Listing{}, err
		}
		return readListing(answer)
	})
}

var errNotOurs = errors.New("the fleet's register: expected what this release writes, found something else")

func readListing(answer []rueidis.RedisMessage) (listing fleet.Listing, err error) {
	if len(answer) != 3 {
		return fleet.Listing{}, errNotOurs
	}
	now, err1 := answer[0].ToString()
	since, err2 := answer[1].ToString()
	last, err3 := answer[2].ToArray() // field, value, field, value
	if err1 != nil || err2 != nil || err3 != nil || len(last)%2 != 0 {
		return fleet.Listing{}, errNotOurs
	}
	if listing.Now, err = readMS(now); err != nil {
		return fleet.Listing{}, errNotOurs
	}
	if since != "" {
		if listing.Since, err = readMS(since); err != nil {
			return fleet.Listing{}, errNotOurs
		}
	}
	for i := 0; i < len(last); i += 2 {
		id, err1 := last[i].ToString()
		content, err2 := last[i+1].ToString()
		if err1 != nil || err2 != nil {
			return fleet.Listing{}, errNotOurs
		}
		entry, err := readEntry(id, content)
		if err != nil {
			return fleet.Listing{}, errNotOurs
		}
		listing.Entries = append(listing.Entries, entry)
	}
	return listing, nil
}

func readEntry(id, content string) (fleet.Entry, error) {
	seen, rest, _ := strings.Cut(content, "|")
	until, report, _ := strings.Cut(rest, "|")
	e := fleet.Entry{ID: id, Report: []byte(report)}
	var err1, err2 error
	e.Seen, err1 = readMS(seen)
	e.Until, err2 = readMS(until)
	return e, errors.Join(err1, err2)
}

func readMS(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(n), err
}
