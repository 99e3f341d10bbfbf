-- The owner of an inbox lives. Follows epoch.lua.
-- KEYS[1]  liveness   KEYS[2]  inboxes: sorted set by time   KEYS[3]  epoch
-- KEYS[4]  epoch for which the owner has written all of its memberships
-- ARGV[1]  inbox   ARGV[2]  milliseconds it counts as alive
-- ARGV[3]  epoch for which all memberships are written, or 0   ARGV[4]  milliseconds to keep that
-- Returns the epoch, by its first version. Asking ends no epoch: the owner compares it with the one for which it last wrote everything.
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4])
mended('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local since = epoch_start(KEYS[3])
redis.call('PEXPIRE', KEYS[3], EPOCH_TTL)
return since
