-- Who is in a group? Follows presence.lua.
-- KEYS[1]  group: sorted set of inboxes by version   KEYS[2]  channels of the group: sorted set by time
-- ARGV[1]  group   ARGV[2]  milliseconds a membership lasts
-- Returns an identity for each socket of the inboxes that are alive, and for each channel that nobody owns.
local found = {}
for _, inbox in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if redis.call('EXISTS', base .. 'alive:' .. inbox) == 1 then
        for _, identity in ipairs(mended('HVALS', place(ARGV[1], inbox).identities)) do found[#found + 1] = identity end
    end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
local channels = mended('HGETALL', place(ARGV[1], '').identities)
for index = 1, #channels, 2 do
    if redis.call('ZSCORE', KEYS[2], channels[index]) then found[#found + 1] = channels[index + 1] end
end
return found
