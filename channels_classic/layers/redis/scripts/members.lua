-- Who is in a group? Memberships that lapsed are removed on the way.
-- KEYS[1]  group   ARGV[1]  what the keys of its member sets begin with (the list follows)   ARGV[2]  milliseconds a membership lasts
-- Returns list, {member, …}, list, {member, …}, …
local time = redis.call('TIME')
local lapsed = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
local found = {}
for _, list in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local key = ARGV[1] .. list
    redis.call('ZREMRANGEBYSCORE', key, '-inf', lapsed)
    local members = redis.call('ZRANGE', key, 0, -1)
    if #members == 0 then
        redis.call('ZREM', KEYS[1], list)
    else
        found[#found + 1] = list
        found[#found + 1] = members
    end
end
return found
