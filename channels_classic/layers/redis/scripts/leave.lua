-- End memberships of clients of one list.
-- KEYS[1]  group   KEYS[2]  members of this list   ARGV[1]  list   ARGV[2…]  members
for index = 2, #ARGV do redis.call('ZREM', KEYS[2], ARGV[index]) end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1]) end
