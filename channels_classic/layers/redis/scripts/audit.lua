-- Find out what was lost of the members of an inbox in a group. Follows group.lua.
-- ARGV[3]  version up to which the owner knows all members and has some, else 0
-- ARGV[4]  version at which members were found to be lost that the owner has written again since, else 0
-- Returns the version, that at which members were found to be lost, or 0, and the number of identities.
if ARGV[4] ~= '0' and redis.call('ZSCORE', left, LOST) == ARGV[4] then
    redis.call('ZREM', left, LOST)
    if redis.call('EXISTS', members) == 0 then redis.call('ZREM', group, inbox) end
end
local version = current_version()
if version == 0 and ARGV[3] ~= '0' and tonumber(ARGV[3]) >= tonumber(redis.call('ZSCORE', left, EMPTIED) or 0) then
    note_loss()
end
local identities = redis.call('HVALS', here.identities)
if #identities == 0 then
    redis.call('DEL', here.people)
else
    if redis.call('EXISTS', here.people) == 0 then
        for _, identity in ipairs(identities) do redis.call('HINCRBY', here.people, who_of(identity), 1) end
    end
    keep_presence(here, ttl)
end
return {version, loss() or '0', #identities}
