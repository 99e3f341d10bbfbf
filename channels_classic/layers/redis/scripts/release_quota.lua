-- What a reader took counts no longer.
-- KEYS[1]  quotas   ARGV[1]  when they were counted, as the reader saw it   ARGV[2]  bytes taken
-- ARGV[3…]  per quota_key: quota_key, entries taken
-- Accounts that were counted since then do not hold what was taken, and are left alone.
if redis.call('HGET', KEYS[1], '#counted') ~= ARGV[1] then return end
redis.call('HINCRBY', KEYS[1], '#bytes', 0 - tonumber(ARGV[2]))
for index = 3, #ARGV, 2 do
    if redis.call('HINCRBY', KEYS[1], ARGV[index], -tonumber(ARGV[index + 1])) <= 0 then
        redis.call('HDEL', KEYS[1], ARGV[index])
    end
end
