-- Put before scripts that find out where a message for a group must go; follows clock.lua.
-- KEYS[1]  group: sorted set of inboxes by version   KEYS[2]  channels of the group: sorted set by time
-- ARGV[1]  milliseconds a membership lasts
-- ARGV[2]  start of the keys of liveness   ARGV[3]  start of the keys of members (the inbox follows both)
-- `audience` returns {inbox, version, …} of the inboxes that are alive, the channels, and the inboxes found dead for the first time.
-- An inbox found dead is skipped while it is; its version is negative, so that it is reported once. Nothing else must be
-- done when it comes back.
local function audience()
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
    local inboxes, dead = {}, {}
    local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
    for index = 1, #found, 2 do
        local inbox, version = found[index], found[index + 1]
        local known_dead = string.sub(version, 1, 1) == '-'
        if known_dead then version = string.sub(version, 2) end
        if redis.call('EXISTS', ARGV[2] .. inbox) == 1 then
            if known_dead then redis.call('ZADD', KEYS[1], version, inbox) end
            inboxes[#inboxes + 1] = inbox
            inboxes[#inboxes + 1] = version
        elseif redis.call('EXISTS', ARGV[3] .. inbox) == 0 then
            redis.call('ZREM', KEYS[1], inbox)
        elseif not known_dead then
            redis.call('ZADD', KEYS[1], '-' .. version, inbox)
            dead[#dead + 1] = inbox
        end
    end
    return {inboxes, redis.call('ZRANGE', KEYS[2], 0, -1), dead}
end
