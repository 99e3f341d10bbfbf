-- Make clients of an inbox members of a group. Follows group.lua.
-- ARGV[3…]  clients
-- Returns the version before and after.
local previous, joined = current_version(), 0
for index = 3, #ARGV do
    redis.call('ZREM', left, ARGV[index])
    joined = joined + redis.call('SADD', members, ARGV[index])
end
return grown(previous, joined)
