package redis

import "github.com/redis/rueidis"

// scripts run whole or not at all, which is what makes a compare-and-set. Their
// sums come from Redis, because SHA-1 in this process is refused in FIPS mode.
type scripts struct {
	create, replace, extend, delete *rueidis.Lua // of records
	renew, release                  *rueidis.Lua // of leases
	join, members                   *rueidis.Lua // of groups
}

func newScripts() scripts {
	script := func(text string) *rueidis.Lua { return rueidis.NewLuaScript(text, rueidis.WithLoadSHA1(true)) }
	return scripts{
		// KEYS record, index; ARGV value, life in ms, member.
		create: script(`
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
return 1`),

		// KEYS record; ARGV old revision, value. Returns 0 for not there, -1 for
		// another revision, else the remaining life in ms plus 1.
		replace: script(`
local revision = redis.call('GETRANGE', KEYS[1], 0, 7)
if revision == '' then return 0 end
if revision ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return redis.call('PTTL', KEYS[1]) + 1`),

		// KEYS record, index; ARGV life in ms, member.
		extend: script(`
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 0 end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1], ARGV[2])
return 1`),

		// KEYS record, index; ARGV member.
		delete: script(`
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])`),

		// KEYS group; ARGV life in ms, member.
		join: script(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`),

		// KEYS group.
		members: script(`
local t = redis.call('TIME')
return redis.call('ZRANGE', KEYS[1], '(' .. (t[1] * 1000 + math.floor(t[2] / 1000)), '+inf', 'BYSCORE')`),

		// KEYS lease; ARGV owner, life in ms.
		renew: script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`),

		// KEYS lease; ARGV owner.
		release: script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`),
	}
}
