-- Write members again that were lost with the data of an earlier epoch. Follows group.lua.
-- ARGV[3…]  clients
-- Once the owner has confirmed the epoch it does nothing: a late one cannot revive anybody.
if is_restored() then return end
current_version()
for index = 3, #ARGV do
    local noted = tonumber(redis.call('ZSCORE', left, ARGV[index]) or 0)
    if noted < tonumber(since) then redis.call('SADD', members, ARGV[index]) end
end
if redis.call('EXISTS', members) == 1 then
    change_version()
    keep()
end
