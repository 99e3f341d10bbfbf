-- Put before scripts that push a message to the inboxes with members of a group. Follows append.lua and audience.lua.
-- KEYS[3]  epoch
-- ARGV[4]  start of the keys of queues   ARGV[5]  start of the keys of quotas (the inbox follows)
-- ARGV[6…8]  bounds, as in push.lua   ARGV[9]  quota_key   ARGV[10]  limit   ARGV[11]  milliseconds to live
-- ARGV[12]  start of the names of inboxes that read such a message
-- ARGV[13]  payload before the version of the members   ARGV[14]  payload after it, before `ending`
-- ARGV[15]  inbox with a payload of its own   ARGV[16], ARGV[17]  that payload
-- Changes what `audience` found: without the inboxes that have it, and with the numbers of those that were full and of
-- those that have it.
-- No call keeps the server busy for long: what goes beyond these bytes is left to the sender. 1,000 inboxes take 10 ms.
local MOST, EACH = 8388608, 8192  -- bytes of all entries, and what an entry counts for besides its own
local function push_to_group(found, ending, counters)
    local bounds = {entries = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]), quotas_from = tonumber(ARGV[8])}
    local entry = {ARGV[9], ARGV[10], ARGV[11]}
    local inboxes, left, full, reached, spent = found[1], {}, 0, 0, 0
    for index = 1, #inboxes, 2 do
        local inbox, version = inboxes[index], inboxes[index + 1]
        -- Long queues as well, whose quotas may have to be counted, and what something else has written.
        local length = redis.pcall('LLEN', ARGV[4] .. inbox)
        if spent >= MOST or string.sub(inbox, 1, #ARGV[12]) ~= ARGV[12] or not string.find(version, '^%d+$')
            or type(length) ~= 'number' or length >= bounds.quotas_from then
            left[#left + 1] = inbox
            left[#left + 1] = version
        else
            local before, after = ARGV[13], ARGV[14]
            if inbox == ARGV[15] then before, after = ARGV[16], ARGV[17] end
            entry[4] = before .. cmsgpack.pack(tonumber(version)) .. after .. ending
            -- An error is about this inbox, such as quotas that have moved to another node: the sender hears of it.
            local is_done, statuses =
                pcall(append, ARGV[4] .. inbox, ARGV[5] .. inbox, KEYS[3], counters, inbox, bounds, entry, 1)
            if not is_done then
                left[#left + 1] = inbox
                left[#left + 1] = version
            elseif statuses[1] == 0 then
                full = full + 1
            else
                reached = reached + 1
            end
            spent = spent + EACH + #entry[4]
        end
    end
    found[1], found[4], found[5] = left, full, reached
end
