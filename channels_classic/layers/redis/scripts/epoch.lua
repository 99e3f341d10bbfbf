-- Put before scripts that need the epoch of this shard: the number of the present life of its data.
local EPOCH_TTL = 2592000000  -- milliseconds, a month: far longer than anything that is compared with it

-- Numbers beyond 2^31 as text: Lua would round them to 14 digits.
local function integer(number) return string.format('%.0f', number) end

-- The next version of a group. No two changes in this shard get the same one: not after a set became empty, since all
-- groups share one counter; not after the data was lost or became that of an older snapshot, since it follows the time.
local function next_version(epoch)
    local time = redis.call('TIME')
    local last = tonumber(redis.call('HGET', epoch, 'version') or 0)
    local version = math.max(last + 1, time[1] * 1000000 + time[2])
    redis.call('HSET', epoch, 'version', integer(version))
    return version
end

local function begin_epoch(epoch, server)
    -- Where nothing is known a flush may have removed it, under readers that know the number it had: so it must be higher
    -- than any before. Quarters of seconds since 2020 are, and fit into an entry until 2054.
    local time = redis.call('TIME')
    local number = (time[1] - 1577836800) * 4 + math.floor(time[2] / 250000)
    redis.call('HSET', epoch, 'server', server, 'number', number, 'since', integer(next_version(epoch)))
    redis.call('PEXPIRE', epoch, EPOCH_TTL)
    return number
end

local function current_epoch(epoch)
    local number = tonumber(redis.call('HGET', epoch, 'number'))
    return number or begin_epoch(epoch, string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'))
end

-- The first version of the epoch, as text: what owners of inboxes know the epoch by, since no two epochs share it.
local function epoch_start(epoch)
    current_epoch(epoch)
    return redis.call('HGET', epoch, 'since')
end

