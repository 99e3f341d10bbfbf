-- Append entries to a list, each unless its account is full.
-- KEYS[1]  list   KEYS[2]  fence   KEYS[3]  counters
-- KEYS[4]  accounts, for an inbox only   KEYS[5]  liveness, if the inbox must be alive
-- ARGV[1]  entries an inbox may hold   ARGV[2]  bytes an inbox may hold   ARGV[3]  length from which accounts are kept
-- ARGV[4]  name by which it is counted   ARGV[5…]  per entry: account, limit (-1: none), milliseconds to live, payload
-- Returns a status per entry: 1 accepted, 0 full, -1 dead.
--
-- An entry is: fence number (uint32), time (double, ms), time to live (uint32, ms), account (length byte + text), payload.
-- The accounts of an inbox are a hash: account -> entries, '#bytes' -> bytes, '#counted' -> when that was counted. A list
-- shorter than ARGV[3] needs none, and an empty one has none. They are counted from the list and then kept: by pushes
-- here, for what was taken by the reader (settle.lua). A reader may fail to, so they are counted anew
-- now and then, and, where that is quick, before one is refused.
local SLICE = 500      -- entries looked at together
local LARGE = 65536    -- bytes of an entry for which also a short list is counted
local KEEP = 5000      -- milliseconds until accounts are counted anew

local list, fence, counters, accounts, alive = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local FIRST = 5        -- argument of the first entry
local statuses = {}

if alive and redis.call('EXISTS', alive) == 0 then
    for index = 1, (#ARGV - FIRST + 1) / 4 do statuses[index] = -1 end
    return statuses
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = present_life(fence)
local length = redis.call('LLEN', list)
local fresh = false  -- whether this call began the list
local kept, counted = false, false  -- whether there are accounts, and whether this call made them
local trimmed = false

if accounts and length == 0 then
    redis.call('DEL', accounts)
elseif accounts then
    kept = redis.call('EXISTS', accounts) == 1
end

local function trim()
    trimmed = true
    local expired
    repeat
        local entries = redis.call('LRANGE', list, 0, SLICE - 1)
        expired = 0
        for _, entry in ipairs(entries) do
            local _, stamp, ttl, account = struct.unpack('>IdIBc0', entry)
            if stamp + ttl > now then break end
            expired = expired + 1
            if kept then
                redis.call('HINCRBY', accounts, account, -1)
                redis.call('HINCRBY', accounts, '#bytes', -#entry)
            end
        end
        if expired > 0 then
            redis.call('LPOP', list, expired)
            count(counters, 'lost_expired:' .. ARGV[4], expired)
        end
        length = length - expired
    until expired < SLICE
end

local function count_anew()
    redis.call('DEL', accounts)
    local counts, bytes = {}, 0
    for first = 0, length - 1, SLICE do
        for _, entry in ipairs(redis.call('LRANGE', list, first, first + SLICE - 1)) do
            local _, _, _, account = struct.unpack('>IdIBc0', entry)
            counts[account] = (counts[account] or 0) + 1
            bytes = bytes + #entry
        end
    end
    local fields = {'#bytes', bytes, '#counted', time[1] .. '.' .. time[2]}
    for account, count in pairs(counts) do
        fields[#fields + 1] = account
        fields[#fields + 1] = count
        if #fields >= SLICE then
            redis.call('HSET', accounts, unpack(fields))
            fields = {}
        end
    end
    if #fields > 0 then redis.call('HSET', accounts, unpack(fields)) end
    redis.call('PEXPIRE', accounts, KEEP)
    kept, counted = true, true
end

local function account_is_full(account, limit)
    return (tonumber(redis.call('HGET', accounts, account)) or 0) >= limit
end

local function is_full(account, limit, size)
    if limit < 0 then return accounts and length >= 2 * tonumber(ARGV[1]) end
    if not accounts then return length >= limit end
    if length < limit and length < tonumber(ARGV[3]) and size < LARGE then return false end
    if not kept then count_anew() end
    if account_is_full(account, limit) and not counted and length <= SLICE then count_anew() end
    return account_is_full(account, limit)
        or length >= tonumber(ARGV[1])
        or tonumber(redis.call('HGET', accounts, '#bytes')) + size > tonumber(ARGV[2])
end

local longest, messages, refused = 0, 0, 0
for index = FIRST, #ARGV, 4 do
    local account, limit, ttl, payload = ARGV[index], tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2]), ARGV[index + 3]
    local full = is_full(account, limit, #payload)
    if full and not trimmed then
        trim()
        full = is_full(account, limit, #payload)
    end
    if full then
        refused = refused + 1
        statuses[#statuses + 1] = 0
    else
        local entry = struct.pack('>IdIBc0', number, now, ttl, #account, account) .. payload
        redis.call('RPUSH', list, entry)
        fresh = fresh or length == 0
        length = length + 1
        if kept then
            redis.call('HINCRBY', accounts, account, 1)
            redis.call('HINCRBY', accounts, '#bytes', #entry)
        end
        longest = math.max(longest, ttl)
        if limit >= 0 then messages = messages + 1 end
        statuses[#statuses + 1] = 1
    end
end

if messages > 0 then count(counters, 'messages:' .. ARGV[4], messages) end
if refused > 0 then count(counters, 'full:' .. ARGV[4], refused) end
if fresh then
    redis.call('PEXPIRE', list, longest + 1000)
elseif longest > 0 then
    redis.call('PEXPIRE', list, longest + 1000, 'GT')
end
return statuses
