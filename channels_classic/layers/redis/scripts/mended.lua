-- Put before scripts that use keys which all programs share and which can be made anew.
-- Run a command on such a key. What something else has written there, in place of what it held, is removed first.
local function mended(command, key, ...)
    local reply = redis.pcall(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if string.find(reply.err, 'WRONGTYPE', 1, true) then
        redis.call('DEL', key)
    elseif command == 'HINCRBY' and (string.find(reply.err, 'hash value is not an integer', 1, true)
            or string.find(reply.err, 'would overflow', 1, true)) then
        redis.call('HDEL', key, (...))
    else
        return error(reply)
    end
    return redis.call(command, key, ...)
end

