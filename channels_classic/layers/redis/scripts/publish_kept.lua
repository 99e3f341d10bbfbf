-- Keep a message for a group, and push it to the inboxes with members. Follows keep.lua and push_to_group.lua.
-- KEYS[1…5]  as in history.lua and audience.lua   KEYS[6]  counters
-- ARGV[1…3]  as in audience.lua   ARGV[4…17]  as in push_to_group.lua   ARGV[18…22]  as in keep.lua
-- Returns what is left, and the life and position of the message. The payloads end with these two.
local found, life, position = keep(18)
push_to_group(found, cmsgpack.pack(tonumber(life)) .. cmsgpack.pack(position), KEYS[6])
found[6], found[7] = life, position
return found
