-- Put before scripts about the kept messages of a group; follows epoch.lua.
-- KEYS[3]  epoch   KEYS[4]  history: hash   KEYS[5]  kept messages: list
-- The fields of the hash:
--   life   number of these positions: a version, so no two groups and no two lives of one share it
--   since  first version of the epoch in which the life began: positions may have gone backwards in a later one
--   head   last position   size   bytes of the kept messages   ends, lasts  when the list and the hash expire
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

-- Return life, head and size, and when the list expires. What has expired alone may still be in it. Positions are kept
-- for `ttl`, and an eighth of it more, so that this need not be renewed for each message.
local function open_history(ttl)
    local since = epoch_start(epoch)
    local life, known, head, size, ends, lasts =
        unpack(redis.call('HMGET', history, 'life', 'since', 'head', 'size', 'ends', 'lasts'))
    if not life or not string.find(life, '^%d+$') or known ~= since or not tonumber(head) or not tonumber(size) then
        life, head, size, ends, lasts = integer(next_version(epoch)), 0, 0, 0, 0
        redis.call('DEL', kept)
        redis.call('HSET', history, 'life', life, 'since', since, 'head', 0, 'size', 0)
    end
    if now + ttl > (tonumber(lasts) or 0) then
        redis.call('HSET', history, 'lasts', now + math.ceil(ttl * 9 / 8))
        redis.call('PEXPIRE', history, math.ceil(ttl * 9 / 8))
    end
    return life, tonumber(head), tonumber(size), tonumber(ends) or 0
end

-- The same for readers: drop what has expired, and return life and head.
local function read_history(ttl)
    local life, head, before = open_history(ttl)
    local size = before
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
    return life, head
end
