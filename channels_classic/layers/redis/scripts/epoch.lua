-- Put before scripts that need the number of the server's present life.
local EPOCH_TTL = 2592000000  -- milliseconds, a month: far longer than anything it fences

local function begin_epoch(epoch, server)
    -- Where nothing is known a flush may have removed it, under readers that know the number it had: so it must be higher
    -- than any before. Quarters of seconds since 2020 are, and fit into an entry until 2054.
    local time = redis.call('TIME')
    local number = (time[1] - 1577836800) * 4 + math.floor(time[2] / 250000)
    redis.call('HSET', epoch, 'server', server, 'number', number)
    redis.call('PEXPIRE', epoch, EPOCH_TTL)
    return number
end

local function current_epoch(epoch)
    local number = tonumber(redis.call('HGET', epoch, 'number'))
    return number or begin_epoch(epoch, string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'))
end

