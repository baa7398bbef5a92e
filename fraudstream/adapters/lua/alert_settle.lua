#!lua flags=allow-oom
-- alert_settle: note what became of one message about one group on one channel.
-- KEYS  1 alertdesk:<channel>, 2 due zset, 3 group hash, 4 member list, 5 journal, 6 undeliverable, 7 due zset of the fallback
-- ARGV  1 me, 2 channel, 3 group id, 4 revision that was told, 5 payments that were told, 6 outcome (delivered, undeliverable),
--       7 place, 8 gap ms, 9 severity told, 10 reply told ('' = none), 11 retry ms ('' = nothing is left to do), 12 fallback ('' = none),
--       13 journal length, 14 number of journal words; the journal's field, value ...; then field, value ... of the letter
-- Reply: {decided at ms of each payment told for the first time} | 'G' another process leads now
-- A group that is gone (a flush, a failover) stays gone: what is noted of it would be a group without a name, for ever due.
if redis.call('HGET', KEYS[1], 'leader') ~= ARGV[1] then return 'G' end
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[3])
  return {}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'until', now + (redis.call('HGET', KEYS[1], 'life') or 0))
local c = ARGV[2] .. ':'
local from = tonumber(redis.call('HGET', KEYS[3], c .. 'told') or 0)
local to = math.max(from, tonumber(ARGV[5]))
redis.call('HSET', KEYS[3], c .. 'told', to, c .. 'at', now, c .. 'sev', ARGV[9])
if ARGV[7] ~= '' then redis.call('HSET', KEYS[3], c .. 'place', ARGV[7]) end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[3], c .. 'reply', ARGV[10]) end
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[3], c .. 'after', now + ARGV[11])
  redis.call('HINCRBY', KEYS[3], c .. 'tries', 1)
  redis.call('ZADD', KEYS[2], now + ARGV[11], ARGV[3])
else
  redis.call('HDEL', KEYS[3], c .. 'after', c .. 'tries', c .. 'since')
  if redis.call('HGET', KEYS[3], 'rev') == ARGV[4] then redis.call('ZREM', KEYS[2], ARGV[3])
  else redis.call('ZADD', KEYS[2], now + ARGV[8], ARGV[3]) end
end
local words = tonumber(ARGV[14])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[13], '*', 'alert_id', ARGV[3], 'channel', ARGV[2], 'outcome', ARGV[6],
  'from', from, 'to', to, unpack(ARGV, 15, 14 + words))
if ARGV[6] == 'undeliverable' then
  redis.call('XADD', KEYS[6], '*', 'channel', ARGV[2], 'alert_id', ARGV[3], 'from', from, 'to', to, unpack(ARGV, 15 + words))
  redis.call('PERSIST', KEYS[3])
  redis.call('PERSIST', KEYS[4])
end
if ARGV[12] ~= '' and redis.call('HEXISTS', KEYS[3], ARGV[12] .. ':told') == 0 and not redis.call('ZSCORE', KEYS[7], ARGV[3]) then
  redis.call('ZADD', KEYS[7], now, ARGV[3])
end
local decided = {}
for _, member in ipairs(redis.call('LRANGE', KEYS[4], from, to - 1)) do
  if to > from then decided[#decided + 1] = string.match(member, '^%d+') end
end
return decided
