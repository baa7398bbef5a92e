#!lua flags=allow-oom
-- alert_digest: fold due groups into the open digest of a channel; their payments count as told there, the digest is told in their place.
-- KEYS  1 alertdesk:<channel>, 2 due zset, 3 alertdigests:<channel> (hash: id of the open digest by reason), 4 journal
-- ARGV  1 me, 2 channel, 3 reason, 4 id of a new digest, 5 due ms, 6 longest life ms, 7 ttl ms, 8 prefix of group hashes,
--       9 prefix of member lists, 10 prefix of alertfolded (zset: group id by amount), 11 prefix of alerttotals (zset: counts),
--       12 journal length, 13 gap ms; then group ids
-- Reply: id of the digest | 'G' another process leads now
if redis.call('HGET', KEYS[1], 'leader') ~= ARGV[1] then return 'G' end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'until', now + (redis.call('HGET', KEYS[1], 'life') or 0))
local c = ARGV[2] .. ':'
local id = redis.call('HGET', KEYS[3], ARGV[3])
local opened = id and redis.call('HGET', ARGV[8] .. id, 'opened')
local storm = ARGV[3] == 'storm'
local stale = opened and (storm and now - opened > tonumber(ARGV[6]) or not storm and redis.call('HEXISTS', ARGV[8] .. id, c .. 'at') == 1)
if not opened or stale then
  if opened and storm then
    redis.call('HSET', ARGV[8] .. id, 'over', 1)
    redis.call('HINCRBY', ARGV[8] .. id, 'rev', 1)
    redis.call('ZADD', KEYS[2], 'LT', now, id)
  end
  id = ARGV[4]
  redis.call('HSET', KEYS[3], ARGV[3], id)
  redis.call('HSET', ARGV[8] .. id, 'id', id, 'kind', 'digest', 'family', ARGV[3], 'opened', now, 'sev', 0)
end
local digest, list, folded, totals = ARGV[8] .. id, ARGV[9] .. id, ARGV[10] .. id, ARGV[11] .. id
local due = ARGV[5]
for i = 14, #ARGV do
  local group = ARGV[8] .. ARGV[i]
  local g = redis.call('HMGET', group, 'n', c .. 'told', 'sev', 'family', 'merchant', 'major')
  local from, to = tonumber(g[2] or 0), tonumber(g[1] or 0)
  redis.call('ZREM', KEYS[2], ARGV[i])
  if to > from then
    local values = {}
    for first = from, to - 1, 1000 do
      local page = redis.call('LRANGE', ARGV[9] .. ARGV[i], first, math.min(to, first + 1000) - 1)
      redis.call('RPUSH', list, unpack(page))
      for _, member in ipairs(page) do
        local amount, currency = string.match(member, '^%d+ (%-?%d+) (%S+)')
        values[currency] = (values[currency] or 0) + amount
      end
    end
    for currency, amount in pairs(values) do redis.call('HINCRBY', digest, 'value:' .. currency, string.format('%.0f', amount)) end
    redis.call('HINCRBY', digest, 'n', to - from)
    redis.call('HSET', group, c .. 'told', to, c .. 'at', now, c .. 'sev', g[3], c .. 'digest', id)
    redis.call('HDEL', group, c .. 'after', c .. 'tries', c .. 'since')
    if tonumber(g[3]) > tonumber(redis.call('HGET', digest, 'sev')) then redis.call('HSET', digest, 'sev', g[3]) end
    redis.call('ZADD', folded, g[6], ARGV[i])
    redis.call('ZINCRBY', totals, to - from, 'family|' .. g[4])
    if g[5] ~= '' then redis.call('ZINCRBY', totals, to - from, 'merchant|' .. g[5]) end
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[12], '*', 'kind', 'folded', 'alert_id', ARGV[i], 'channel', ARGV[2],
      'outcome', 'digested', 'from', from, 'to', to, 'digest', id)
  end
end
redis.call('HSET', digest, 'last', now)
redis.call('HINCRBY', digest, 'rev', 1)
local told = redis.call('HMGET', digest, c .. 'at', c .. 'after')
if told[1] then due = math.max(now, told[1] + ARGV[13]) end
redis.call('ZADD', KEYS[2], 'LT', math.max(tonumber(due), tonumber(told[2] or 0)), id)
for _, key in ipairs({digest, list, folded, totals}) do redis.call('PEXPIRE', key, ARGV[7]) end
return id
