#!lua flags=allow-oom
-- leave: delete a consumer, only when it holds nothing and no longer beats.
-- KEYS  1 stream, 2 heartbeat zset   ARGV  1 group, 2 consumer
local t = redis.call('TIME')
local hb = redis.call('ZSCORE', KEYS[2], ARGV[2])
if hb and tonumber(hb) >= t[1] * 1000 + math.floor(t[2] / 1000) then return 0 end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[2])
return 1
