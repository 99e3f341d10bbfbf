-- Put before scripts about the members of one inbox in one group; follows epoch.lua and presence.lua.
-- KEYS[1]  group: sorted set of inboxes by version, negative where the inbox was found dead
-- KEYS[2]  members of this inbox: set   KEYS[3]  epoch   KEYS[4]  epoch for which its owner has written its memberships
-- KEYS[5]  members to leave out when the owner restores them: sorted set by version or start of the epoch; and notes
-- KEYS[6…8]  starts, identities and people of this inbox, see presence.lua, which makes these names itself: given, so that
--          nothing is written while some of them are on their way to another node
-- KEYS[9]  notices
-- ARGV[1]  inbox   ARGV[2]  milliseconds a membership lasts
local group, members, epoch, restored, left, inbox, ttl = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[2]
local since = epoch_start(epoch)
local here = place(string.match(group, '[^:]*$'), inbox)

-- Redis may evict a key of a group alone, and anybody may delete one. `members` and the score in `group` are written
-- together and removed together, so where one is there without the other it was lost. The score alone serves for
-- messages: the owner delivers by its index. It stays, with a note under LOST, so that what is missing in `members` is
-- known, until the owner has written its members again. Where both are lost there is no trace; but a set that became
-- empty leaves a note under EMPTIED, and one that began leaves a note under BEGUN until its owner knows it. So an owner
-- that has members can tell that the layer lost them: the version it knows is older than the set, or there is no set, and
-- it is no older than the version at which the set last became empty.
local LOST, EMPTIED, BEGUN = '?lost', '?emptied', '?begun'  -- no client has such a name; the score is a version
local NOTED = 3600000     -- milliseconds within which an owner that is alive, or suspended, restores its memberships
local AUDITED = 300000    -- milliseconds within which an owner audits each group at least once

local function note(name, score, kept)
    redis.call('ZADD', left, score, name)
    kept = math.min(kept, tonumber(ttl))
    if redis.call('PTTL', left) < kept then redis.call('PEXPIRE', left, kept) end
end

-- The version at which members were found to be lost, as text, or nothing.
local function loss()
    local found = redis.call('ZSCORE', left, LOST)
    return found and tonumber(found) >= tonumber(since) and found or nil
end

local function note_loss()
    if not loss() then note(LOST, integer(next_version(epoch)), NOTED) end
end

local function is_confirmed() return mended('GET', restored) == since end

local function is_restored() return is_confirmed() and not loss() end

local function change_version()
    local version = next_version(epoch)
    redis.call('ZADD', group, integer(version), inbox)
    return version
end

-- The version of the members, 0 where there are none. Those of an earlier epoch are void: an older snapshot may hold
-- clients that have left since, and their owner writes them again.
local function current_version()
    local score = redis.call('ZSCORE', group, inbox)
    local found = redis.call('EXISTS', members) == 1
    if not score and not found then return 0 end
    local version = math.abs(tonumber(score or 0))
    if score and version >= tonumber(since) then
        if not found then note_loss() end
        return version
    end
    -- The members are those of this epoch, since their owner has confirmed it.
    if not score and is_confirmed() then return change_version() end
    clear(here, GRACE)  -- first, so that it is repeated with all of this if it meets an error
    redis.call('DEL', members)
    redis.call('ZREM', group, inbox)
    return 0
end

local function keep()
    redis.call('PEXPIRE', group, ttl)
    redis.call('PEXPIRE', members, ttl)
end

-- Members were added, `changed` of them new or with a new identity. Returns the version before and after.
local function grown(previous, changed)
    local version = changed > 0 and change_version() or previous
    if previous == 0 then note(BEGUN, integer(version), AUDITED) end
    keep()
    return {previous, version}
end

