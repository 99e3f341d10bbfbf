-- Make channels members of a group that no interface server owns, and say who they are. Follows presence.lua.
-- KEYS[1]  channels of the group: sorted set by time   ARGV[1]  group   ARGV[2]  milliseconds a membership lasts
-- ARGV[3…]  per channel: channel, identity
-- Returns the number of those that were no members.
local here = place(ARGV[1], '')
local joined = 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
enlist(here, ARGV[2])
for index = 3, #ARGV, 2 do appear(here, ARGV[index], ARGV[index + 1], true) end
keep_identities(here, ARGV[2])
for index = 3, #ARGV, 2 do joined = joined + redis.call('ZADD', KEYS[1], now, ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return joined
