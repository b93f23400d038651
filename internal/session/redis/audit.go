package redis

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"keyway/internal/audit"
)

// AuditLog is an audit.Log beside the sessions. It is safe for concurrent use. Under
// the store's prefix it has
//
//	a:{fleet}:lines  stream of lines, by their seq; it does not expire
//	a:{fleet}:head   the head, as JSON
//
// A stream keeps the numbers of what was removed from it, so that nobody can put
// another entry in the place of one that was there without making it all anew.
type AuditLog struct {
	store               *Store
	end, append, expire *rueidis.Lua
}

var _ audit.Log = (*AuditLog)(nil)

// AuditLog is the store's audit log.
func (s *Store) AuditLog() *AuditLog {
	script := func(text string) *rueidis.Lua { return rueidis.NewLuaScript(text, rueidis.WithLoadSHA1(true)) }
	return &AuditLog{
		store: s,

		// KEYS lines, head. Returns the head, the last line that is one by its number, and
		// the id of the last of any kind: somebody else may have put there what is none.
		end: script(`
local function line(e)
  local n = string.match(e[1], '^(%d+)-0$')
  return n and #n <= 15 and e[2][2] and string.find(e[2][2], '{"seq":' .. n .. ',', 1, true) == 1
end
local last, id, count = '', '', 1
local from = '+'
repeat
  local some = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', count)
  for _, e in ipairs(some) do
    if id == '' then id = e[1] end
    from = '(' .. e[1]
    if line(e) then last = e[2][2] break end
  end
  local full = #some == count
  count = 100
until last ~= '' or not full
return {redis.call('GET', KEYS[2]) or '', last, id}`),

		// KEYS lines, head; ARGV the head and the id of the last line as they were read,
		// the next head, and then id and line of each that is new. What is in the place of
		// those is not of the chain, which ends before, and goes.
		append: script(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] or (last[1] and last[1][1] or '') ~= ARGV[2] then return 0 end
for i = 4, #ARGV, 2 do
  local added = redis.pcall('XADD', KEYS[1], ARGV[i], 'l', ARGV[i + 1])
  if type(added) == 'table' and added.err then
    local full = string.find(added.err, 'equal or smaller', 1, true) or string.find(added.err, 'last possible ID', 1, true)
    if i > 4 or not full then return added end
    for _, e in ipairs(redis.call('XRANGE', KEYS[1], ARGV[i], '+')) do redis.call('XDEL', KEYS[1], e[1]) end
    local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
    redis.call('XSETID', KEYS[1], top[1] and top[1][1] or '0-1')
    redis.call('XADD', KEYS[1], ARGV[i], 'l', ARGV[i + 1])
  end
end
redis.call('SET', KEYS[2], ARGV[3])
return 1`),

		// KEYS lines; ARGV id of the first to be kept. The last one is.
		expire: script(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if not last[1] then return 0 end
local n = tonumber(string.match(ARGV[1], '^%d+'))
local m = tonumber(string.match(last[1][1], '^%d+'))
if m < n then n = m end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', n) .. '-0')`),
	}
}

func (l *AuditLog) keys() []string {
	return []string{l.store.prefix + "a:{fleet}:lines", l.store.prefix + "a:{fleet}:head"}
}

// streamID is where the line with this number is.
func streamID(seq uint64) string { return strconv.FormatUint(seq, 10) + "-0" }

// state is what is there: the head and the last line, as they are kept.
type state struct{ head, last, id string }

var errNotARecord = errors.New("session store: redis: the audit log: expected what this release writes, found something else")

func (l *AuditLog) state(ctx context.Context) (state, audit.Head, error) {
	s, err := call(ctx, l.store, func(ctx context.Context, c rueidis.Client) (state, error) {
		answer, err := l.end.Exec(ctx, c, l.keys(), nil).AsStrSlice()
		if err != nil {
			return state{}, err
		}
		if len(answer) != 3 {
			return state{}, errNotARecord
		}
		return state{answer[0], answer[1], answer[2]}, nil
	})
	if err != nil {
		return state{}, audit.Head{}, err
	}
	var kept audit.Head
	// A head that is none must not end the record: it goes on from the last line, and
	// whoever has seen another end says so.
	if s.head != "" && json.Unmarshal([]byte(s.head), &kept) != nil {
		kept = audit.Head{}
	}
	return s, audit.HeadOf(kept, []byte(s.last)), nil
}

// Head implements audit.Log.
func (l *AuditLog) Head(ctx context.Context) (audit.Head, error) {
	_, head, err := l.state(ctx)
	return head, err
}

// Append implements audit.Log.
func (l *AuditLog) Append(ctx context.Context, after audit.Head, lines [][]byte, next audit.Head) error {
	if err := audit.CheckAppend(after, lines, next); err != nil {
		return err
	}
	there, head, err := l.state(ctx)
	switch {
	case err != nil:
		return err
	case !head.Same(after):
		return audit.ErrConflict
	}
	content, err := json.Marshal(next)
	if err != nil {
		return err
	}
	args := []string{there.head, there.id, string(content)}
	for _, line := range lines {
		args = append(args, streamID(audit.SeqOf(line)), rueidis.BinaryString(line))
	}
	added, err := call(ctx, l.store, func(ctx context.Context, c rueidis.Client) (bool, error) {
		return l.append.Exec(ctx, c, l.keys(), args).AsBool()
	})
	switch {
	case err != nil:
		return err
	case !added:
		return audit.ErrConflict
	}
	return nil
}

// maxReply bounds one answer, in lines: half a megabyte most often.
const maxReply = 100

// Read implements audit.Log.
func (l *AuditLog) Read(ctx context.Context, from uint64, most int) (first uint64, lines [][]byte, err error) {
	first = from
	for most = min(most, audit.MaxRead); len(lines) < most; {
		want := min(most-len(lines), maxReply)
		entries, err := call(ctx, l.store, func(ctx context.Context, c rueidis.Client) ([]rueidis.XRangeEntry, error) {
			return c.Do(ctx, c.B().Xrange().Key(l.keys()[0]).Start(streamID(from)).End("+").Count(int64(want)).Build()).AsXRange()
		})
		if err != nil {
			return 0, nil, err
		}
		for _, e := range entries {
			number, _, _ := strings.Cut(e.ID, "-")
			seq, err := strconv.ParseUint(number, 10, 64)
			if err != nil {
				return 0, nil, errNotARecord
			}
			if len(lines) == 0 {
				first = seq
			}
			lines, from = append(lines, []byte(e.FieldValues["l"])), seq+1
		}
		if len(entries) < want {
			break
		}
	}
	return first, lines, nil
}

// Droppable implements audit.Log.
func (l *AuditLog) Droppable(ctx context.Context, before uint64) (uint64, error) {
	first, lines, err := l.Read(ctx, 0, 1)
	if err != nil {
		return 0, err
	}
	if len(lines) == 0 {
		return 1, nil
	}
	head, err := l.Head(ctx)
	return max(first, min(before, head.Seq)), err
}

// Drop implements audit.Log.
func (l *AuditLog) Drop(ctx context.Context, before uint64) error {
	_, err := call(ctx, l.store, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return l.expire.Exec(ctx, c, l.keys()[:1], []string{streamID(before)}).AsInt64()
	})
	return err
}
