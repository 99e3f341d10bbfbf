-- A client connected: what is the number of the server's present life?
-- KEYS[1]  epoch: hash of `server` (run id) and `number`   ARGV[1]  run id of the server that answers
-- Returns the number. It grows when another server, or the same one restarted, answers with this data: what was stored
-- before may have been handed out before, and readers drop it.
local known = redis.call('HGET', KEYS[1], 'server')
if not known then return begin_epoch(KEYS[1], ARGV[1]) end
if known ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'server', ARGV[1])
    redis.call('HINCRBY', KEYS[1], 'number', 1)
end
redis.call('PEXPIRE', KEYS[1], EPOCH_TTL)
return tonumber(redis.call('HGET', KEYS[1], 'number'))
