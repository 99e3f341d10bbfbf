-- Make channels members of a group that no interface server owns. Follows clock.lua.
-- KEYS[1]  channels of the group: sorted set by time   ARGV[1]  milliseconds a membership lasts   ARGV[2…]  channels
-- Returns the number of those that were no members.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
local joined = 0
for index = 2, #ARGV do joined = joined + redis.call('ZADD', KEYS[1], now, ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return joined
