-- Append entries to a queue. Follows append.lua.
-- KEYS[1]  queue   KEYS[2]  epoch   KEYS[3]  counters
-- KEYS[4]  quotas, for an inbox only   KEYS[5]  liveness, if the inbox must be alive
-- ARGV[1]  entries an inbox may hold   ARGV[2]  bytes a queue may hold   ARGV[3]  length from which quotas are kept
-- ARGV[4]  name by which it is counted   ARGV[5…]  per entry: quota_key, limit (-1: none), milliseconds to live, payload
-- Returns a status per entry: 1 accepted, 0 full, -1 dead.
local FIRST = 5  -- argument of the first entry
if KEYS[5] and redis.call('EXISTS', KEYS[5]) == 0 then
    local statuses = {}
    for index = 1, (#ARGV - FIRST + 1) / 4 do statuses[index] = -1 end
    return statuses
end
local bounds = {entries = tonumber(ARGV[1]), bytes = tonumber(ARGV[2]), quotas_from = tonumber(ARGV[3])}
return append(KEYS[1], KEYS[4], KEYS[2], KEYS[3], ARGV[4], bounds, ARGV, FIRST)
