-- Make clients of an inbox members of a group, and say who they are. Follows group.lua.
-- ARGV[3…]  per client: client, identity
-- Returns the version before and after; it changes also where only an identity did, so that the owner hears of it.
local previous, changed = current_version(), 0
-- First what may be refused, as it needs keys of other inboxes: then they are no members yet, and it can be repeated.
enlist(here, ttl)
for index = 3, #ARGV, 2 do
    if appear(here, ARGV[index], ARGV[index + 1], true) then changed = changed + 1 end
end
keep_identities(here, ttl)
for index = 3, #ARGV, 2 do
    redis.call('ZREM', left, ARGV[index])
    changed = changed + redis.call('SADD', members, ARGV[index])
end
return grown(previous, changed)
