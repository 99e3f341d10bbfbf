-- Put before scripts that keep a message for a group; follows history.lua and audience.lua.
-- From ARGV[first]: milliseconds to keep the hash, messages to keep, milliseconds to keep them, bytes to keep, message.
-- Returns where it must go, as `audience` does, and the life and position of the message.
local function keep(first)
    local most, ttl, most_bytes, payload = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3]), ARGV[first + 4]
    local life, head, size, ends = open_history(ARGV[first])
    local found = audience()  -- before anything is kept: a key of another type refuses all of it
    local position = head + 1
    local length = redis.call('RPUSH', kept, struct.pack(HEAD, position, now + ttl) .. payload)
    if length == 1 then size, ends = 0, 0 end  -- the list may have expired as a whole
    size = size + #payload
    -- Behind the first write nothing else may be refused, unless that is undone: the sender is told that nothing was written.
    while length > most or (size > most_bytes and length > 1) do
        local dropped = redis.pcall('LPOP', kept)
        if type(dropped) ~= 'string' then break end
        local _, _, bytes = parse(dropped)
        size = size - (bytes or 0)
        length = length - 1
    end
    -- The list lives as long as the longest of its messages, and an eighth of that longer, as the hash does.
    if now + ttl > ends then
        ends = now + math.ceil(ttl * 9 / 8)
        redis.pcall('PEXPIRE', kept, ends - now)
    end
    local head_set = redis.pcall('HSET', history, 'head', position, 'size', size, 'ends', ends)
    if type(head_set) == 'table' then
        redis.pcall('LMPOP', 1, kept, 'RIGHT')
        error(head_set)
    end
    return found, life, position
end
