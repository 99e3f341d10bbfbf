-- Put before scripts that count: how often something happened, by kind and channel, as fields 'kind:channel' of a hash.
local function count(counters, field, number)
    local total = mended('HINCRBY', counters, field, number)
    if total == number and redis.call('HLEN', counters) > 4096 then
        -- Too many channels: what they sum up to stays, each of them begins anew.
        local sums, all = {}, redis.call('HGETALL', counters)
        for index = 1, #all, 2 do
            local kind, value = string.match(all[index], '^[^:]*:'), tonumber(all[index + 1])
            if kind and value then sums[kind] = (sums[kind] or 0) + value end
        end
        redis.call('DEL', counters)
        for kind, sum in pairs(sums) do redis.call('HSET', counters, kind, sum) end
    end
    -- Now and then is often enough: they live for a week.
    if total == number or math.floor(total / 16) ~= math.floor((total - number) / 16) then
        redis.call('PEXPIRE', counters, 604800000)
    end
end

