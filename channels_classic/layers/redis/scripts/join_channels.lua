-- Make channels members of a group that no interface server owns.
-- KEYS[1]  channels of the group: sorted set by time   ARGV[1]  milliseconds a membership lasts   ARGV[2…]  channels
-- Returns the number of those that were no members.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
local joined = 0
for index = 2, #ARGV do joined = joined + redis.call('ZADD', KEYS[1], now, ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return joined
