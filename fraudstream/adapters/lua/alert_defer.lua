#!lua flags=allow-oom
-- alert_defer: try one message again later; where the channel is away, let another one tell the group beside it.
-- KEYS  1 alertdesk:<channel>, 2 due zset, 3 group hash, 4 due zset of the fallback
-- ARGV  1 me, 2 channel, 3 group id, 4 delay ms, 5 tries to add, 6 fallback ('' = none)
-- Reply: 1 | 'G' another process leads now
if redis.call('HGET', KEYS[1], 'leader') ~= ARGV[1] then return 'G' end
if redis.call('EXISTS', KEYS[3]) == 0 then return 1 end                 -- gone with a lost history: see alert_settle
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local c = ARGV[2] .. ':'
redis.call('HSETNX', KEYS[3], c .. 'since', now)
redis.call('HINCRBY', KEYS[3], c .. 'tries', ARGV[5])
redis.call('HSET', KEYS[3], c .. 'after', now + ARGV[4])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[3])
if ARGV[6] ~= '' and redis.call('HEXISTS', KEYS[3], ARGV[6] .. ':told') == 0 and not redis.call('ZSCORE', KEYS[4], ARGV[3]) then
  redis.call('ZADD', KEYS[4], now, ARGV[3])
end
return 1
