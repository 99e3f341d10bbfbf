-- Make clients of an inbox members of a group. Follows group.lua.
-- ARGV[3…]  clients
-- Returns the version before and after.
local previous = current_version()
local version, joined = previous, 0
for index = 3, #ARGV do
    joined = joined + redis.call('SADD', members, ARGV[index])
    redis.call('ZREM', left, ARGV[index])
end
if joined > 0 then version = change_version() end
keep()
return {previous, version}
