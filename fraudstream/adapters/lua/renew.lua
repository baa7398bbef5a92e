#!lua flags=allow-oom
-- renew: heartbeat, and keep the entries in hand from being claimed.
-- KEYS  1 stream, 2 heartbeat zset   ARGV  1 group, 2 consumer, 3 heartbeat ttl ms, then entry ids in hand
-- Reply: ids that are no longer ours
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[3], ARGV[2])
local lost = {}
for i = 4, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if #p == 1 and p[1][2] == ARGV[2] then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  else lost[#lost + 1] = ARGV[i] end
end
return lost
