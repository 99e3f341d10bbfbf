-- Put before scripts about the kept messages of a group; follows epoch.lua.
-- KEYS[3]  epoch   KEYS[4]  history: hash   KEYS[5]  kept messages: list
-- The fields of the hash:
--   life   number of these positions: a version, so no two groups and no two lives of one share it
--   since  first version of the epoch in which the life began: positions may have gone backwards in a later one
--   head   last position   size   bytes of the kept messages
-- A kept message is: position, when it expires (doubles), payload. Positions in the list follow one another.
local epoch, history, kept = KEYS[3], KEYS[4], KEYS[5]
local HEAD = '>dd'
local HEAD_SIZE = 16

-- Position, deadline and size of a kept message; nothing for an entry that is too short: something else has written it.
local function parse(entry)
    if #entry < HEAD_SIZE then return nil end
    local position, deadline = struct.unpack(HEAD, entry)
    return position, deadline, #entry - HEAD_SIZE
end

local function milliseconds()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local now = milliseconds()

-- Drop what has expired; return life, head and size.
local function open_history(ttl)
    local since = epoch_start(epoch)
    local life, known, head, size = unpack(redis.call('HMGET', history, 'life', 'since', 'head', 'size'))
    if not life or known ~= since or not tonumber(head) or not tonumber(size) then
        life, head, size = integer(next_version(epoch)), 0, 0
        redis.call('DEL', kept)
        redis.call('HSET', history, 'life', life, 'since', since, 'head', 0, 'size', 0)
    end
    redis.call('PEXPIRE', history, ttl)
    local before = tonumber(size)
    size = before
    local entry = redis.call('LINDEX', kept, 0)
    while entry do
        local _, deadline, bytes = parse(entry)
        if deadline and deadline > now then break end
        redis.call('LPOP', kept)
        size = size - (bytes or 0)
        entry = redis.call('LINDEX', kept, 0)
    end
    if not entry then size = 0 end  -- the list may have expired as a whole
    if size ~= before then redis.call('HSET', history, 'size', size) end
    return life, tonumber(head), size
end
