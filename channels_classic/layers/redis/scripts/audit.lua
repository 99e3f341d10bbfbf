-- Find out what was lost of the members of an inbox in a group. Follows group.lua.
-- ARGV[3]  version up to which the owner knows all members, if it has any; or, where a hint has reported that the set
--          began anew, the version that it knew before that; else 0
-- ARGV[4]  version at which members were found to be lost that the owner has written again since, else 0
-- Returns the version, that at which members were found to be lost, or 0, and the number of identities.
if ARGV[4] ~= '0' and redis.call('ZSCORE', left, LOST) == ARGV[4] then
    redis.call('ZREM', left, LOST)
    if redis.call('EXISTS', members) == 0 then redis.call('ZREM', group, inbox) end
end
local version = current_version()
local known, emptied = tonumber(ARGV[3]), tonumber(redis.call('ZSCORE', left, EMPTIED) or 0)
local began = version == 0 and math.huge or tonumber(redis.call('ZSCORE', left, BEGUN) or 0)
-- A version of an earlier epoch shows nothing here: then all members are void, and their owner writes them again.
if known >= tonumber(since) and emptied <= known and known < began then note_loss() end
-- The owner knows the set that began: a discard that finds nothing need not be noted any more, see leave.lua.
if known >= began then redis.call('ZREM', left, BEGUN) end
local identities, sockets, is_sound = mended('HLEN', here.identities), 0, true
for _, text in ipairs(mended('HVALS', here.people)) do
    local number = tonumber(text) or 0
    sockets, is_sound = sockets + number, is_sound and number > 0
end
if sockets ~= identities or not is_sound then
    redis.call('DEL', here.people)
    for _, identity in ipairs(mended('HVALS', here.identities)) do redis.call('HINCRBY', here.people, who_of(identity), 1) end
end
if identities > 0 then
    enlist(here, ttl)
    keep_identities(here, ttl)
end
return {version, loss() or '0', identities}
