-- Make clients of one list members of a group.
-- KEYS[1]  group: sorted set of lists by time   KEYS[2]  members of this list: sorted set by time
-- ARGV[1]  list   ARGV[2]  milliseconds a membership lasts   ARGV[3]  'add', 'restore' or 'replace'   ARGV[4…]  members
-- 'restore' keeps what is stored, if anything is: others may have changed it. 'replace' forgets what is stored.
-- Returns the members of this list now, unless it was 'add'.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == 'replace' then redis.call('DEL', KEYS[2]) end
if ARGV[3] ~= 'restore' or redis.call('EXISTS', KEYS[2]) == 0 then
    for index = 4, #ARGV do redis.call('ZADD', KEYS[2], now, ARGV[index]) end
end
if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('ZADD', KEYS[1], now, ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
if ARGV[3] ~= 'add' then return redis.call('ZRANGE', KEYS[2], 0, -1) end
