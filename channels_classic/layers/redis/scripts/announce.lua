-- A program reports about itself. Follows clock.lua.
-- KEYS[1]  programs: hash of program -> when it reported and until when that counts (two doubles, ms), facts
-- ARGV[1]  program   ARGV[2]  milliseconds until it counts as ended   ARGV[3]  facts
if mended('HSET', KEYS[1], ARGV[1], struct.pack('>dd', now, now + ARGV[2]) .. ARGV[3]) == 1 then
    -- It is new: remove those that ended without a report. Readers leave them out.
    local all = redis.call('HGETALL', KEYS[1])
    for index = 1, #all, 2 do
        local value = all[index + 1]
        if #value < 16 or select(2, struct.unpack('>dd', value)) <= now then redis.call('HDEL', KEYS[1], all[index]) end
    end
    if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
