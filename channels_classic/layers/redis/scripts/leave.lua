-- End memberships of clients of an inbox. Follows group.lua.
-- ARGV[3]  '1' if the owner says that these clients are gone: it knows, so the version stays   ARGV[4…]  clients
-- Returns the version before and after.
local gone = ARGV[3] == '1'
local previous = current_version()
local version, removed, lost = previous, 0, loss()
-- First what may be refused, as it needs keys of other inboxes: then they are members still, and it can be repeated.
for index = 4, #ARGV do
    mended('HDEL', here.starts, ARGV[index])
    disappear(here, ARGV[index])
end
for index = 4, #ARGV do removed = removed + redis.call('SREM', members, ARGV[index]) end
if lost then
    if not gone then version = change_version() end  -- it may have been a member, and its owner is to hear of it
elseif redis.call('EXISTS', members) == 0 then
    redis.call('ZREM', group, inbox)
    if removed > 0 then
        local last = next_version(epoch)
        if not gone then version = last end
        note(EMPTIED, integer(last), AUDITED)
    end
elseif removed > 0 and not gone then
    version = change_version()
end
if not gone and not is_restored() then
    -- The owner has yet to restore its memberships, from an index that may not have seen this change.
    for index = 4, #ARGV do note(ARGV[index], since, NOTED) end
elseif not gone and removed == 0 and (previous == 0 or redis.call('ZSCORE', left, BEGUN)) then
    -- Everything may have been lost since the owner last looked. If so, it restores them within that time.
    local moment = next_version(epoch)
    redis.call('ZREMRANGEBYSCORE', left, '-inf', integer(moment - AUDITED * 1000))
    for index = 4, #ARGV do note(ARGV[index], integer(moment), AUDITED) end
end
return {previous, version}
