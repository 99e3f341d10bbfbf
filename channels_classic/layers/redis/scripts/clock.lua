-- Put first. The time of this call, as the server tells it (seconds and microseconds), and in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
