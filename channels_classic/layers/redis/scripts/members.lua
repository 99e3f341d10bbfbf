-- Read the members of an inbox in a group. Follows group.lua.
-- Returns their version, whether the owner has restored all of its memberships in this epoch, the members, their
-- identities, their starts and the epoch, by its first version.
local version = current_version()
local identities, starts = mended('HGETALL', here.identities), mended('HGETALL', here.starts)
return {version, is_restored() and 1 or 0, redis.call('SMEMBERS', members), identities, starts, since}
