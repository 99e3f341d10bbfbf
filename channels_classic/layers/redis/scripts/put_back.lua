-- Put entries nobody has started back to the head of their queue, unchanged.
-- KEYS[1]  queue   KEYS[2]  quotas, for an inbox only   ARGV[1]  milliseconds to keep the queue   ARGV[2…]  entries, in order
for index = #ARGV, 2, -1 do redis.call('LPUSH', KEYS[1], ARGV[index]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
if KEYS[2] then redis.call('DEL', KEYS[2]) end
