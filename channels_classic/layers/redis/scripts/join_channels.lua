-- Make channels members of a group that no interface server owns.
-- KEYS[1]  channels of the group: sorted set by time   ARGV[1]  milliseconds a membership lasts   ARGV[2…]  channels
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
