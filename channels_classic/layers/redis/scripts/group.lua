-- Put before scripts about the members of one inbox in one group; follows epoch.lua and presence.lua.
-- KEYS[1]  group: sorted set of inboxes by version, negative where the inbox was found dead
-- KEYS[2]  members of this inbox: set   KEYS[3]  epoch   KEYS[4]  epoch for which its owner has written its memberships
-- KEYS[5]  members to leave out when the owner restores them: sorted set by epoch   KEYS[6]  notices
-- ARGV[1]  inbox   ARGV[2]  milliseconds a membership lasts
local group, members, epoch, restored, left, inbox, ttl = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[2]
local since = epoch_start(epoch)
local here = place(string.match(group, '[^:]*$'), inbox)

local function is_restored() return redis.call('GET', restored) == since end

-- The version of the members, 0 where there are none. Those of an earlier epoch are void: an older snapshot may hold
-- clients that have left since, and their owner writes them again.
local function current_version()
    local score = redis.call('ZSCORE', group, inbox)
    if not score then return 0 end
    local version = math.abs(tonumber(score))
    if version >= tonumber(since) and redis.call('EXISTS', members) == 1 then
        return version
    end
    redis.call('DEL', members)
    redis.call('ZREM', group, inbox)
    clear(here, GRACE)
    redis.call('DEL', here.starts)
    return 0
end

local function change_version()
    local version = next_version(epoch)
    redis.call('ZADD', group, integer(version), inbox)
    return version
end

local function keep()
    redis.call('PEXPIRE', group, ttl)
    redis.call('PEXPIRE', members, ttl)
end

