#!lua flags=allow-oom
-- forget: delete the consumers of a group that have been silent for long and hold nothing; each start has a name of its own, and
-- those that were killed would stay for ever. One that is not among the heartbeats (it died before its first, or a failover lost
-- them) is silent from now on.
-- KEYS  1 stream, 2 heartbeat zset   ARGV  1 group, 2 silence ms, 3 count
-- Reply: how many were deleted
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local n, silent = 0, now - ARGV[2]
local there = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for _, about in ipairs(there.err and {} or there) do
  local name = about[2]
  if name:sub(1, 2) ~= '__' then redis.call('ZADD', KEYS[2], 'NX', now, name) end      -- parked entries have an owner of their own
end
for _, consumer in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', silent, 'BYSCORE', 'LIMIT', 0, ARGV[3])) do
  local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, consumer)
  if pending.err and not pending.err:find('NOGROUP') then return redis.error_reply(pending.err) end
  if pending.err or #pending == 0 then
    if not pending.err then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer) end
    redis.call('ZREM', KEYS[2], consumer)
    n = n + 1
  end
end
return n
