-- Put before scripts that append entries to a queue, each unless its quota is used up; follows counters.lua and epoch.lua.
--
-- An entry is: epoch (uint32), time (double, ms), time to live (uint32, ms), quota_key (length byte + text), payload.
-- The quotas of an inbox are a hash: quota_key -> entries, '#bytes' -> bytes, '#counted' -> when that was counted. A queue
-- shorter than `quotas_from` needs none, and an empty one has none. They are counted from the queue and then kept: by pushes
-- here, for what was taken by the reader (release_quota.lua). A reader may fail to, so they are counted anew
-- now and then, and, where that is quick, before one is refused.
--
-- Nothing raises once an entry is appended: an error says that nothing was, and the sender would append it again.
local SLICE = 500      -- entries looked at together
local LARGE = 65536    -- bytes of an entry for which also a short queue is counted
local HEAD = 17        -- bytes before the quota_key
local KEEP = 5000      -- milliseconds until quotas are counted anew

-- Append to `queue` what `entries` has from `first` on, per entry: quota_key, limit (-1: none), milliseconds to live, payload.
-- `quotas` is their key, for an inbox only; `name` the one by which the queue is counted. `bounds`: `entries` that an inbox
-- may hold, `bytes` that a queue may hold, `quotas_from`. Returns a status per entry: 1 accepted, 0 full, or not looked at
-- since a command failed behind those that are appended. An error means that none is.
local function append(queue, quotas, epoch, counters, name, bounds, entries, first)
    local statuses = {}
    local number = current_epoch(epoch)
    local length = redis.call('LLEN', queue)
    local fresh = false  -- whether this call began the queue
    local kept, counted = false, false  -- whether there are quotas, and whether this call made them
    local trimmed = false

    if quotas and length == 0 then
        redis.call('DEL', quotas)
    elseif quotas then
        -- What something else has written there is as good as nothing.
        local held = redis.pcall('HGET', quotas, '#bytes')
        kept = type(held) == 'string' and #held < 16 and string.find(held, '^%-?%d+$') ~= nil
        if held and not kept then redis.call('DEL', quotas) end
    end

    -- When an entry expires, and its quota_key; nothing for one that is too short: something else has written it.
    local function parse(entry)
        if #entry < HEAD or #entry < HEAD + string.byte(entry, HEAD) then return nil end
        local _, stamp, ttl, quota_key = struct.unpack('>IdIBc0', entry)
        return stamp + ttl, quota_key
    end

    local function trim()
        trimmed = true
        -- One entry at first: most often none has expired, and to copy many large ones would keep the server busy.
        local slice, removed = 1, 0
        repeat
            local entries = redis.call('LRANGE', queue, 0, slice - 1)
            local broken = 0
            removed = 0
            for _, entry in ipairs(entries) do
                local deadline, quota_key = parse(entry)
                if deadline and deadline > now then break end
                removed = removed + 1
                if not deadline then broken = broken + 1 end
                if kept then
                    if deadline then mended('HINCRBY', quotas, quota_key, -1) end
                    redis.call('HINCRBY', quotas, '#bytes', 0 - #entry)  -- not -0, for an empty one
                end
            end
            if removed > 0 then redis.call('LPOP', queue, removed) end
            if broken > 0 then pcall(count, counters, 'lost_undecodable:' .. name, broken) end
            if removed > broken then pcall(count, counters, 'lost_expired:' .. name, removed - broken) end
            length = length - removed
            local all = removed == slice
            slice = math.min(slice * 8, SLICE)
        until not all
    end

    local function count_anew()
        redis.call('DEL', quotas)
        local counts, bytes = {}, 0
        for first = 0, length - 1, SLICE do
            for _, entry in ipairs(redis.call('LRANGE', queue, first, first + SLICE - 1)) do
                local _, quota_key = parse(entry)
                if quota_key then counts[quota_key] = (counts[quota_key] or 0) + 1 end
                bytes = bytes + #entry
            end
        end
        local fields = {'#bytes', bytes, '#counted', time[1] .. '.' .. time[2]}
        for quota_key, count in pairs(counts) do
            fields[#fields + 1] = quota_key
            fields[#fields + 1] = count
            if #fields >= SLICE then
                redis.call('HSET', quotas, unpack(fields))
                fields = {}
            end
        end
        if #fields > 0 then redis.call('HSET', quotas, unpack(fields)) end
        redis.call('PEXPIRE', quotas, KEEP)
        kept, counted = true, true
    end

    local function is_over_quota(quota_key, limit)
        return (tonumber(redis.call('HGET', quotas, quota_key)) or 0) >= limit
    end

    -- Many small entries of a plain channel are bounded by its capacity; only where entries are large it is measured.
    local function is_over_size(size)
        if size < LARGE and length * LARGE < bounds.bytes then return false end
        return length > 0 and redis.call('MEMORY', 'USAGE', queue, 'SAMPLES', 0) + size > bounds.bytes
    end

    local function is_full(quota_key, limit, size)
        if limit < 0 then return quotas and length >= 2 * bounds.entries end
        if not quotas then return length >= limit or is_over_size(size) end
        if length < limit and length < bounds.quotas_from and size < LARGE then return false end
        if not kept then count_anew() end
        if is_over_quota(quota_key, limit) and not counted and length <= SLICE then count_anew() end
        return is_over_quota(quota_key, limit)
            or length >= bounds.entries
            or tonumber(redis.call('HGET', quotas, '#bytes')) + size > bounds.bytes
    end

    -- The same, after those that have expired were removed, if need be.
    local function remains_full(quota_key, limit, size)
        if not is_full(quota_key, limit, size) then return false end
        if trimmed then return true end
        trim()
        return is_full(quota_key, limit, size)
    end

    local longest, messages, refused, appended = 0, 0, 0, false
    for index = first, #entries, 4 do
        local quota_key, limit, ttl, payload = entries[index], tonumber(entries[index + 1]), tonumber(entries[index + 2]), entries[index + 3]
        local is_known, full = pcall(remains_full, quota_key, limit, #payload)
        if not is_known and not appended then error(full) end
        if full then
            refused = refused + 1
            statuses[#statuses + 1] = 0
        else
            local entry = struct.pack('>IdIBc0', number, now, ttl, #quota_key, quota_key) .. payload
            redis.call('RPUSH', queue, entry)
            appended = true
            fresh = fresh or length == 0
            length = length + 1
            if kept then
                pcall(mended, 'HINCRBY', quotas, quota_key, 1)
                redis.pcall('HINCRBY', quotas, '#bytes', #entry)
            end
            longest = math.max(longest, ttl)
            if limit >= 0 then messages = messages + 1 end
            statuses[#statuses + 1] = 1
        end
    end

    if messages > 0 then pcall(count, counters, 'messages:' .. name, messages) end
    if refused > 0 then pcall(count, counters, 'full:' .. name, refused) end
    if fresh then
        redis.pcall('PEXPIRE', queue, longest + 1000)
    elseif longest > 0 then
        redis.pcall('PEXPIRE', queue, longest + 1000, 'GT')
    end
    return statuses
end
