-- Register a connection: return the number of the epoch, the lineage of the server, and the first version of the epoch.
-- Follows epoch.lua.
-- KEYS[1]  epoch   ARGV[1]  id of this node in a cluster, else empty
-- ARGV[2]  'server:lineage' of a former master that is proven to have done nothing which is missing here (handover.py),
--          '-' if there is no proof, empty if nobody has looked for it
-- ARGV[3]  highest number that this client has seen, on whichever server the address led to
-- ARGV[4]  first version of that epoch   ARGV[5…]  ids of the other masters that are alive
--
-- The epoch stays the same while the same process holds the data and was not demoted and promoted meanwhile: then it
-- would have another lineage, and the one before as `master_replid2`. (A master without replicas changes its lineage
-- too, after `repl-backlog-ttl`; then there is no lineage before.) It also stays when the data came with its slot from a
-- master that still is one: nothing was handed out there that is still here. And it stays when a replica was promoted
-- and misses nothing: if that is possible, but nobody has looked yet, nothing changes, and the answer is
-- {0, lineage, former server, former lineage}. In all other cases a new one begins, and also where a client has seen a
-- later one, be it of the same number: then the address has been pointed back to a former server, whose messages
-- may have been handed out by another one since.
local NONE = string.rep('0', 40)
local server, lineage, former = identity()
local since = epoch_start(KEYS[1])
local known_server, known_lineage, known_node, number = unpack(redis.call('HMGET', KEYS[1], 'server', 'lineage', 'node', 'number'))
number = tonumber(number)
local moved = false
for index = 5, #ARGV do moved = moved or ARGV[index] == known_node end
local kept = server == known_server and (lineage == known_lineage or former == NONE)
    or moved and known_node ~= ARGV[1] and former ~= known_lineage
    or ARGV[2] == (known_server or '') .. ':' .. (known_lineage or '')
if not kept and ARGV[2] == '' and former == known_lineage then return {0, lineage, known_server, known_lineage} end
local seen = tonumber(ARGV[3])
-- Of two with the same number the one that began earlier is the former: data that is lost twice within a quarter of a
-- second begins two of the same number on one server.
local is_behind = (seen > number or seen == number and tonumber(since) < tonumber(ARGV[4])) and seen < HIGHEST_NUMBER
if not kept or is_behind then
    number, since = (is_behind and seen or number) + 1, integer(next_version(KEYS[1]))
    redis.call('HSET', KEYS[1], 'number', integer(number), 'since', since)
end
redis.call('HSET', KEYS[1], 'server', server, 'lineage', lineage, 'node', ARGV[1])
redis.call('PEXPIRE', KEYS[1], EPOCH_TTL)
return {number, lineage, since}
