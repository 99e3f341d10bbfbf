-- End memberships of channels that no interface server owns. Follows presence.lua.
-- KEYS[1]  channels of the group: sorted set by time   ARGV[1]  group   ARGV[2…]  channels
local here = place(ARGV[1], '')
for index = 2, #ARGV do
    redis.call('ZREM', KEYS[1], ARGV[index])
    disappear(here, ARGV[index])
end
