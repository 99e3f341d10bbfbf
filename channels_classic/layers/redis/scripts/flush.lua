-- Remove all queues, quotas, groups, memberships and counters; liveness and the epoch stay.
-- KEYS[1]  inboxes: sorted set by time   KEYS[2]  counters   ARGV[1…]  patterns of the keys to remove
-- Returns the inboxes that are alive.
local inboxes = redis.call('ZRANGE', KEYS[1], 0, -1)  -- before anything is removed: a key of another type refuses it
for _, pattern in ipairs(ARGV) do
    local cursor = '0'
    repeat
        local page = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000)
        cursor = page[1]
        for _, key in ipairs(page[2]) do redis.call('UNLINK', key) end
    until cursor == '0'
end
redis.call('DEL', KEYS[2])
return inboxes
