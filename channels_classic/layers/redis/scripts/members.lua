-- Read the members of an inbox in a group. Follows group.lua.
-- Returns their version, whether the owner has restored all of its memberships in this epoch, the members, and their
-- identities.
local version = current_version()
return {version, is_restored() and 1 or 0, redis.call('SMEMBERS', members), redis.call('HGETALL', here.attends)}
