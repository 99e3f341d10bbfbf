-- Write again who members of an inbox are. Follows group.lua.
-- ARGV[3]  '1' to announce those that come   ARGV[4…]  per client: client, identity
current_version()
enlist(here, ttl)
for index = 4, #ARGV, 2 do
    local member = ARGV[index]
    if redis.call('SISMEMBER', members, member) == 1 and mended('HEXISTS', here.identities, member) == 0 then
        appear(here, member, ARGV[index + 1], ARGV[3] == '1')
    end
end
keep_identities(here, ttl)
