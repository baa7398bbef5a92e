#!lua flags=allow-oom
-- alert_storm: note the weather of a channel; where a storm is over, its digest says so and takes no more.
-- KEYS  1 alertdesk:<channel>, 2 due zset, 3 alertdigests:<channel>   ARGV  1 me, 2 storm ('' = none), 3 prefix of group hashes
-- Reply: 1 | 'G' another process leads now
if redis.call('HGET', KEYS[1], 'leader') ~= ARGV[1] then return 'G' end
redis.call('HSET', KEYS[1], 'storm', ARGV[2])
if ARGV[2] ~= '' then return 1 end
local id = redis.call('HGET', KEYS[3], 'storm')
if not id then return 1 end
redis.call('HDEL', KEYS[3], 'storm')
if redis.call('EXISTS', ARGV[3] .. id) == 1 then
  local t = redis.call('TIME')
  redis.call('HSET', ARGV[3] .. id, 'over', 1)
  redis.call('HINCRBY', ARGV[3] .. id, 'rev', 1)
  redis.call('ZADD', KEYS[2], 'LT', t[1] * 1000 + math.floor(t[2] / 1000), id)
end
return 1
