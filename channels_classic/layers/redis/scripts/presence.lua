-- Put before scripts about who the members of groups are; follows epoch.lua. The last key is that of the notices.
-- Keys under the same start, for an inbox in a group (the empty text is the inbox of channels that nobody owns):
--   starts:GROUP:INBOX   hash: member -> start of those that recover
--   identities:GROUP:INBOX  hash: member -> identity       people:GROUP:INBOX     hash: who -> sockets
--   presence_inboxes        set: inboxes with anybody      presence_groups:INBOX  set: groups in which it has anybody
--   notices              sorted set: notices by the time they are due     noticed  hash: notice -> identity
--   listening            present while somebody takes notices
-- An identity is: length of who (byte), who, info. A notice is: '+' (came) or '-' (left), group, NUL, who.
local GRACE = 15000          -- milliseconds until it is said that somebody has left
local MOST_NOTICES = 10000
local NOTICES_TTL = 3600000  -- milliseconds after which notices that nobody takes are forgotten

local notices = KEYS[#KEYS]
local base = string.sub(notices, 1, -(#'notices' + 1))
local noticed, listening = base .. 'noticed', base .. 'listening'

local function place(group, inbox)
    local name = group .. ':' .. inbox
    return {group = group, inbox = inbox, identities = base .. 'identities:' .. name,
        people = base .. 'people:' .. name, starts = base .. 'starts:' .. name}
end

local function who_of(identity) return string.sub(identity, 2, 1 + (string.byte(identity) or 0)) end

local function is_elsewhere(here, who)
    local start = base .. 'people:' .. here.group .. ':'
    for _, inbox in ipairs(redis.call('ZRANGE', base .. 'group:' .. here.group, 0, -1)) do
        if inbox ~= here.inbox and mended('HEXISTS', start .. inbox, who) == 1 then return true end
    end
    return here.inbox ~= '' and mended('HEXISTS', start, who) == 1
end

local function notice_of(kind, here, who) return kind .. here.group .. '\0' .. who end

local function notify(kind, here, identity, delay)
    if mended('ZCARD', notices) >= MOST_NOTICES then return end
    local notice = notice_of(kind, here, who_of(identity))
    redis.call('ZADD', notices, now + delay, notice)
    mended('HSET', noticed, notice, identity)
    redis.call('PEXPIRE', notices, NOTICES_TTL)
    redis.call('PEXPIRE', noticed, NOTICES_TTL)
end

local function forget_notice(notice)
    mended('HDEL', noticed, notice)
    return mended('ZREM', notices, notice) == 1
end

-- Somebody came with the first socket in an inbox, or has left with the last one. While nobody takes notices none are
-- made; but one that waits and is not true any more is forgotten.
local function came(here, identity, announce)
    local who, listens = who_of(identity), redis.call('EXISTS', listening) == 1
    if not listens and redis.call('EXISTS', notices) == 0 or is_elsewhere(here, who) then return end
    if not forget_notice(notice_of('-', here, who)) and listens and announce then notify('+', here, identity, 0) end
end

local function has_left(here, identity, delay)
    local who, listens = who_of(identity), redis.call('EXISTS', listening) == 1
    if not listens and redis.call('EXISTS', notices) == 0 or is_elsewhere(here, who) then return end
    if listens then notify('-', here, identity, delay) else forget_notice(notice_of('+', here, who)) end
end

-- Each of these first does what may meet an error, since a key of another inbox may be on its way to another node of the
-- cluster, and only then writes who somebody is. So it can be repeated.

-- A socket of somebody is gone.
local function socket_ended(here, identity)
    local who = who_of(identity)
    if mended('HINCRBY', here.people, who, -1) > 0 then return end
    has_left(here, identity, GRACE)
    redis.call('HDEL', here.people, who)
end

-- Say who a member is; return whether that was not known.
local function appear(here, member, identity, announce)
    local known = mended('HGET', here.identities, member)
    if known == identity then return false end
    local who = who_of(identity)
    if not known or who_of(known) ~= who then
        local is_first = mended('HINCRBY', here.people, who, 1) == 1
        local is_told, problem = pcall(function()
            if is_first then came(here, identity, announce) end
            if known then socket_ended(here, known) end
        end)
        if not is_told then
            if mended('HINCRBY', here.people, who, -1) < 1 then redis.call('HDEL', here.people, who) end
            error(problem)
        end
    end
    redis.call('HSET', here.identities, member, identity)
    return true
end

local function disappear(here, member)
    local identity = mended('HGET', here.identities, member)
    if not identity then return end
    socket_ended(here, identity)
    redis.call('HDEL', here.identities, member)
end

-- Forget everybody of one inbox in a group.
local function clear(here, delay)
    local found = mended('HGETALL', here.identities)
    if #found == 0 then return end
    local told = {}
    for index = 2, #found, 2 do
        local who = who_of(found[index])
        if not told[who] then has_left(here, found[index], delay) end
        told[who] = true
    end
    redis.call('DEL', here.identities, here.people)
end

-- Note where an inbox has anybody. Goes first, since these keys may be on their way to another node of the cluster.
local function enlist(here, ttl)
    local inboxes, groups = base .. 'presence_inboxes', base .. 'presence_groups:' .. here.inbox
    mended('SADD', inboxes, here.inbox)
    mended('SADD', groups, here.group)
    redis.call('PEXPIRE', inboxes, ttl)
    redis.call('PEXPIRE', groups, ttl)
end

local function keep_identities(here, ttl)
    redis.call('PEXPIRE', here.identities, ttl)
    redis.call('PEXPIRE', here.people, ttl)
end
