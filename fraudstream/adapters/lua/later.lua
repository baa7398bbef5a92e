#!lua flags=allow-oom
-- later: give an entry back, to be tried again after a delay.
-- KEYS  1 stream, 2 retry zset   ARGV  1 group, 2 consumer, 3 entry id, 4 delay ms,
--       5 count that a failure makes of it (0 = it did not fail), 6 up to how many hand-outs are counted: below that the next one is
-- Reply: R handed to __retry__ | G not in our hands any more (done, or claimed by another)
local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #p == 0 or p[1][2] ~= ARGV[2] then return 'G' end
local t = redis.call('TIME')
local count = p[1][4]
if count >= tonumber(ARGV[6]) then count = math.max(count, tonumber(ARGV[5])) end
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[4], ARGV[3])
redis.call('XCLAIM', KEYS[1], ARGV[1], '__retry__', 0, ARGV[3], 'RETRYCOUNT', count, 'JUSTID')
return 'R'
