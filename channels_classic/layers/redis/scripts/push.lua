-- Append entries to a list, each unless its account is full.
-- KEYS[1]  list   KEYS[2]  fence   KEYS[3]  accounts, for an inbox only   KEYS[4]  liveness, if the inbox must be alive
-- ARGV[1]  entries an inbox may hold   ARGV[2]  bytes an inbox may hold   ARGV[3]  length from which accounts are kept
-- ARGV[4…]  per entry: account, limit (-1: none), milliseconds to live, payload
-- Returns a status per entry: 1 accepted, 0 full, -1 dead.
--
-- An entry is: fence number (uint32), time (double, ms), time to live (uint32, ms), account (length byte + text), payload.
-- The accounts of an inbox are a hash: account -> entries, '#' -> bytes. A reader deletes it, and a list shorter than
-- ARGV[3] needs none: it is counted anew from the list when it is missed.
local list, fence, accounts, alive = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local statuses = {}

if alive and redis.call('EXISTS', alive) == 0 then
    for index = 1, (#ARGV - 3) / 4 do statuses[index] = -1 end
    return statuses
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = tonumber(redis.call('HGET', fence, 'number')) or 0
local length = redis.call('LLEN', list)
local kept = accounts and length > 0 and redis.call('EXISTS', accounts) == 1
local trimmed = false

local function trim()
    trimmed = true
    while length > 0 do
        local _, stamp, ttl = struct.unpack('>IdI', redis.call('LINDEX', list, 0))
        if stamp + ttl > now then break end
        redis.call('LPOP', list)
        length = length - 1
    end
    if accounts then redis.call('DEL', accounts) end
    kept = false
end

local function count_anew()
    local counts, bytes = {}, 0
    for _, entry in ipairs(redis.call('LRANGE', list, 0, -1)) do
        local _, _, _, account = struct.unpack('>IdIBc0', entry)
        counts[account] = (counts[account] or 0) + 1
        bytes = bytes + #entry
    end
    for account, count in pairs(counts) do redis.call('HSET', accounts, account, count) end
    redis.call('HSET', accounts, '#', bytes)
    -- A list that this call began has no time to live yet; what is set at the end is set for both.
    local left = redis.call('PTTL', list)
    if left > 0 then redis.call('PEXPIRE', accounts, left) end
    kept = true
end

local function is_full(account, limit, size)
    if limit < 0 then return false end
    if not accounts then return length >= limit end
    if length < limit and length < tonumber(ARGV[3]) then return false end
    if not kept then count_anew() end
    return (tonumber(redis.call('HGET', accounts, account)) or 0) >= limit
        or length >= tonumber(ARGV[1])
        or tonumber(redis.call('HGET', accounts, '#')) + size > tonumber(ARGV[2])
end

local longest = 0
for index = 4, #ARGV, 4 do
    local account, limit, ttl, payload = ARGV[index], tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2]), ARGV[index + 3]
    local full = is_full(account, limit, #payload)
    if full and not trimmed then
        trim()
        full = is_full(account, limit, #payload)
    end
    if full then
        statuses[#statuses + 1] = 0
    else
        local entry = struct.pack('>IdIBc0', number, now, ttl, #account, account) .. payload
        redis.call('RPUSH', list, entry)
        length = length + 1
        if kept then
            redis.call('HINCRBY', accounts, account, 1)
            redis.call('HINCRBY', accounts, '#', #entry)
        end
        longest = math.max(longest, ttl)
        statuses[#statuses + 1] = 1
    end
end

if longest > 0 and redis.call('PTTL', list) < longest + 1000 then
    redis.call('PEXPIRE', list, longest + 1000)
    if accounts then redis.call('PEXPIRE', accounts, longest + 1000) end
end
return statuses
