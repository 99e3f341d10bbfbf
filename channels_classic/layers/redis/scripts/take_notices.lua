-- Take notices that are due, after those of inboxes that are dead were made. Follows presence.lua.
-- KEYS[1]  hash of what is noticed, given so that nothing is taken while it is on its way to another node   KEYS[2]  notices
-- ARGV[1]  milliseconds for which notices are made from now on   ARGV[2]  most notices to take
-- Returns {notice, identity, …}.
-- Members of a dead inbox had most of their grace. The rest covers an outage of this server, after which every inbox seems
-- to be dead: it takes that long until their owners are heard of again and have written who their clients are.
local REST = 10000  -- milliseconds
local GROUPS = 50  -- of one dead inbox in one call, so that none keeps the server busy for long
redis.call('SET', listening, '1', 'PX', ARGV[1])
for _, inbox in ipairs(mended('SMEMBERS', base .. 'presence_inboxes')) do
    if inbox ~= '' and redis.call('EXISTS', base .. 'alive:' .. inbox) == 0 then
        local groups = base .. 'presence_groups:' .. inbox
        local kept = {}  -- for later: something else has written a key of theirs, or it is on its way to another node
        for _, group in ipairs(mended('SPOP', groups, GROUPS)) do
            if not pcall(clear, place(group, inbox), REST) then kept[#kept + 1] = group end
        end
        if #kept > 0 then
            redis.call('SADD', groups, unpack(kept))
            redis.call('PEXPIRE', groups, NOTICES_TTL)
        end
        if redis.call('EXISTS', groups) == 0 then redis.call('SREM', base .. 'presence_inboxes', inbox) end
    end
end
local found = {}
for _, notice in ipairs(mended('ZRANGE', notices, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
    local identity = mended('HGET', noticed, notice)
    forget_notice(notice)
    if identity then
        found[#found + 1] = notice
        found[#found + 1] = identity
    end
end
return found
