-- Keep a message for a group, and return where it must go. Follows history.lua and audience.lua.
-- ARGV[4]  milliseconds to keep the hash   ARGV[5]  messages to keep   ARGV[6]  milliseconds to keep them
-- ARGV[7]  bytes to keep   ARGV[8]  message
-- Returns what `audience` does, and the life and position of the message.
local keep, ttl, most, payload = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local life, head, size = open_history(ARGV[4])
local found = audience()  -- before anything is kept: a key of another type refuses all of it
local position = head + 1
redis.call('RPUSH', kept, struct.pack(HEAD, position, now + ttl) .. payload)
size = size + #payload
local length = redis.call('LLEN', kept)
while length > keep or (size > most and length > 1) do
    local _, _, bytes = parse(redis.call('LPOP', kept))
    size = size - (bytes or 0)
    length = length - 1
end
redis.call('HSET', history, 'head', integer(position), 'size', integer(size))
-- The list lives as long as the longest of its messages.
if redis.call('PTTL', kept) < ttl then redis.call('PEXPIRE', kept, ttl) end
found[4], found[5] = life, position
return found
