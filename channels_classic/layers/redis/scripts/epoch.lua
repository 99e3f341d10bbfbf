-- Put before scripts that need the number of the epoch that the data is in; follows clock.lua and mended.lua.
--
-- An epoch is a time in which no message can have been handed out that is still in the data: it ends when the data may
-- have gone backwards, because a replica that lagged was promoted, or because a server restarted from a snapshot. Entries
-- of earlier epochs are dropped by those who take them. The hash at `epoch` names whose data this is:
--   server   run id of the process
--   lineage  its replication id: another one after each promotion
--   node     its id in a cluster, empty elsewhere
--   number   the number of the epoch
--   since    its first version (see next_version): the name by which owners of inboxes know it
--   version  the last version that was given
local EPOCH_TTL = 2592000000  -- milliseconds, a month: far longer than any entry lives

-- A large number as text: Lua would round it to 14 digits. (Redis does not, in the arguments of a command.)
local function integer(number) return string.format('%.0f', number) end

local HIGHEST_NUMBER = 4294967295     -- that an entry can carry
local HIGHEST_VERSION = 9007199254740991  -- that Lua counts exactly

-- The whole number that a field holds, or nothing: something else has written it.
local function whole(text, highest)
    local number = type(text) == 'string' and string.find(text, '^%d+$') and tonumber(text)
    return number and number <= highest and number or nil
end

-- The next version of a group. No two changes in this shard get the same one: not after a set became empty, since all
-- groups share one counter; not after the data was lost or became that of an older snapshot, since it follows the time.
local function next_version(epoch)
    local last = whole(mended('HGET', epoch, 'version'), HIGHEST_VERSION) or 0
    local version = math.max(last + 1, time[1] * 1000000 + time[2])
    redis.call('HSET', epoch, 'version', integer(version))
    return version
end

local function identity()
    local replication = redis.call('INFO', 'replication')
    return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), string.match(replication, 'master_replid:(%x+)'),
        string.match(replication, 'master_replid2:(%x+)')
end

local known_number  -- of the epoch, once this call has read or begun it

local function begin_epoch(epoch)
    -- Where nothing is known a flush may have removed it, under readers that know the number it had: so it must be higher
    -- than any before. Quarters of seconds since 2020 are, and fit into an entry until 2054.
    local number = (time[1] - 1577836800) * 4 + math.floor(time[2] / 250000)
    local server, lineage = identity()
    local since = integer(next_version(epoch))
    redis.call('HSET', epoch, 'server', server, 'lineage', lineage, 'number', number, 'since', since)
    redis.call('PEXPIRE', epoch, EPOCH_TTL)
    known_number = number
    return number
end

local function current_epoch(epoch)
    known_number = known_number or whole(mended('HGET', epoch, 'number'), HIGHEST_NUMBER) or begin_epoch(epoch)
    return known_number
end

-- The first version of the epoch, as text: what owners of inboxes know the epoch by, since no two epochs share it.
local function epoch_start(epoch)
    local number, since = unpack(mended('HMGET', epoch, 'number', 'since'))
    known_number = whole(number, HIGHEST_NUMBER)
    if known_number and whole(since, HIGHEST_VERSION) then return since end
    begin_epoch(epoch)  -- or something else has written there
    return redis.call('HGET', epoch, 'since')
end

