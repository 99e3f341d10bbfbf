-- A process tells what it counted as lost.
-- KEYS[1]  counters   ARGV  per kind and channel: field, number
for index = 1, #ARGV, 2 do count(KEYS[1], ARGV[index], tonumber(ARGV[index + 1])) end
