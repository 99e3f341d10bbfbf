-- The owner of an inbox lives.
-- KEYS[1]  liveness   KEYS[2]  inboxes: sorted set by time   KEYS[3]  fence
-- ARGV[1]  inbox   ARGV[2]  milliseconds it counts as alive   ARGV[3]  milliseconds to keep the fence
-- Returns whether it was known to be alive.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('SET', KEYS[1], '1', 'PX', ARGV[2], 'GET')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return known and 1 or 0
