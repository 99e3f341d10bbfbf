-- Push a message to the inboxes with members of a group, and return what is left. Follows push_to_group.lua.
-- KEYS[1]  group   KEYS[2]  channels of the group, as in audience.lua   KEYS[3]  epoch   KEYS[4]  counters
-- ARGV[1…3]  as in audience.lua   ARGV[4…17]  as in push_to_group.lua
local found = audience()
push_to_group(found, '', KEYS[4])
return found
