#!lua flags=allow-oom
-- alert_resend: take an undeliverable alert out, to be told again or for good.
-- KEYS  1 undeliverable, 2 group hash, 3 member list, 4 due zset of the channel, 5 journal
-- ARGV  1 letter id, 2 channel, 3 group id, 4 first payment that was not told, 5 again (1) or discarded (0), 6 ttl ms,
--       7 journal length; then field, value ... of the journal
-- Reply: A done | X no such letter | N the group is no longer kept, nothing changed
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'X' end
if redis.call('EXISTS', KEYS[2]) == 1 then
  if ARGV[5] == '1' then
    local t = redis.call('TIME')
    local c = ARGV[2] .. ':'
    local told = tonumber(redis.call('HGET', KEYS[2], c .. 'told') or 0)
    redis.call('HSET', KEYS[2], c .. 'told', math.min(told, tonumber(ARGV[4])))
    redis.call('HINCRBY', KEYS[2], 'rev', 1)
    redis.call('HDEL', KEYS[2], c .. 'tries', c .. 'since', c .. 'after')
    redis.call('ZADD', KEYS[4], 'LT', t[1] * 1000 + math.floor(t[2] / 1000), ARGV[3])
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
elseif ARGV[5] == '1' then return 'N' end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*', 'alert_id', ARGV[3], 'channel', ARGV[2], unpack(ARGV, 8))
return 'A'
