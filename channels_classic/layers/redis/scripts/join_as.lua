-- Make clients of an inbox members of a group, and say who they are. Follows group.lua.
-- ARGV[3…]  per client: client, identity
-- Returns the version before and after; it changes also where only an identity did, so that the owner hears of it.
local previous = current_version()
local version, changed = previous, 0
for index = 3, #ARGV, 2 do
    changed = changed + redis.call('SADD', members, ARGV[index])
    redis.call('ZREM', left, ARGV[index])
    if appear(here, ARGV[index], ARGV[index + 1], true) then changed = changed + 1 end
end
if changed > 0 then version = change_version() end
keep()
keep_presence(here, ttl)
return {previous, version}
