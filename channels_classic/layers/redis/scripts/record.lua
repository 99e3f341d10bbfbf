-- Keep a message for a group, and return where it must go, its life and its position. Follows keep.lua.
-- ARGV[4…8]  as in keep.lua
local found, life, position = keep(4)
found[4], found[5] = life, position
return found
