-- The owner of an inbox lives. Follows epoch.lua.
-- KEYS[1]  liveness   KEYS[2]  inboxes: sorted set by time   KEYS[3]  epoch   KEYS[4]  life in which it said so last
-- ARGV[1]  inbox   ARGV[2]  milliseconds it counts as alive   ARGV[3]  milliseconds a membership lasts
-- Returns whether nothing was lost since it said so last.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = tostring(current_epoch(KEYS[3]))
local last = redis.call('SET', KEYS[4], number, 'PX', ARGV[3], 'GET')
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], EPOCH_TTL)
return last == number and 1 or 0
