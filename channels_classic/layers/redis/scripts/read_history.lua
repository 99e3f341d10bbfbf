-- Read what is kept of a group after a position. Follows history.lua.
-- KEYS[6]  members of an inbox: set   ARGV[4]  one of them, or empty
-- ARGV[1]  milliseconds to keep the hash   ARGV[2]  life of the position, 0: everything, -1: nothing   ARGV[3]  position
-- Returns the life, the last position, whether everything after the position is kept, the messages, and whether the
-- member is one.
local is_member = (ARGV[4] == '' or redis.call('SISMEMBER', KEYS[6], ARGV[4]) == 1) and 1 or 0
local life, head = read_history(ARGV[1])
local wanted, position = ARGV[2], tonumber(ARGV[3])
if wanted == '-1' then return {life, head, 1, {}, is_member} end
local first = head + 1
local entry = redis.call('LINDEX', kept, 0)
if entry then first = struct.unpack(HEAD, entry) end
if wanted == '0' then
    position = first - 1
elseif wanted ~= life or position > head or position < first - 1 then
    return {life, head, 0, {}, is_member}
end
return {life, head, 1, redis.call('LRANGE', kept, position - first + 1, -1), is_member}
