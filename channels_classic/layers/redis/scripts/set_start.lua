-- Note from where a client that is about to join is served. Follows history.lua.
-- KEYS[6]  starts of the members of an inbox: hash   KEYS[7]  these members: set
-- ARGV[1]  milliseconds to keep the history   ARGV[2]  milliseconds a membership lasts   ARGV[3]  client
-- ARGV[4]  life, -1: the last position now   ARGV[5]  position   ARGV[6]  '1' if the last message alone is of interest
-- Returns life, position and that; nothing for a client that is a member already, of which it changes nothing.
if redis.call('SISMEMBER', KEYS[7], ARGV[3]) == 1 then return nil end
local life, position = ARGV[4], ARGV[5]
if life == '-1' then
    life, position = read_history(ARGV[1])
    position = integer(position)
end
mended('HSET', KEYS[6], ARGV[3], life .. ' ' .. position .. ' ' .. ARGV[6])
redis.call('PEXPIRE', KEYS[6], ARGV[2])
return {life, position, ARGV[6]}
