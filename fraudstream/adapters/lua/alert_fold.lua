#!lua flags=allow-oom
-- alert_fold: put one flagged transaction into its alert group, once, say where the group is to be told, and acknowledge the entry.
-- KEYS  1 fraud stream, 2 alertof:<transaction id> (string, the group's id; ttl), 3 alertopen:<group key> (hash: id, first, last; ttl)
--       4 alertopened (list: when the newest groups were opened), 5 alertrecent (zset: group id by its last payment)
--       6 alertsnoozes (zset: rule|entity|id by the end of the snooze), 7 journal (stream)
-- ARGV  1 group, 2 consumer, 3 entry id, 4 transaction id, 5 id of a new group, 6 prefix of group hashes, 7 prefix of member lists,
--       8 prefix of due zsets, 9 ttl of key 2 ms, 10 ttl of groups ms, 11 silence ms, 12 longest life ms, 13 severity (0 to 2), 14 alert,
--       15 currency, 16 amount minor, 17 amount major, 18 outcome, 19 decided at ms, 20 family, 21 rule id, 22 entity, 23 entity id,
--       24 merchant, 25 journal length; then channel, first wait ms, gap ms ... of every channel
-- Reply: {N opened a group | J joined one, group id} | {D, group id} in a group already, acknowledged | {G} not in our hands any more
local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #p == 0 or p[1][2] ~= ARGV[2] then return {'G'} end
local known = redis.call('GET', KEYS[2])
if known then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  return {'D', known}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local open = redis.call('HMGET', KEYS[3], 'id', 'first', 'last')
local joins = open[1] and now - open[3] <= tonumber(ARGV[11]) and now - open[2] <= tonumber(ARGV[12])
  and (redis.call('HGET', ARGV[6] .. open[1], 'answer') or '') == '' and redis.call('EXISTS', ARGV[6] .. open[1]) == 1
local id = joins and open[1] or ARGV[5]
local group, members = ARGV[6] .. id, ARGV[7] .. id
if not joins then
  redis.call('HSET', group, 'id', id, 'kind', 'group', 'family', ARGV[20], 'rule_id', ARGV[21], 'entity', ARGV[22],
    'entity_id', ARGV[23], 'merchant', ARGV[24], 'opened', now, 'sev', -1, 'previous', open[1] or '')
  redis.call('HSET', KEYS[3], 'id', id, 'first', now)
  redis.call('LPUSH', KEYS[4], now)
  redis.call('LTRIM', KEYS[4], 0, 10000)
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - ARGV[10])
end
redis.call('HSET', KEYS[3], 'last', now)
redis.call('PEXPIRE', KEYS[3], ARGV[10])
redis.call('SET', KEYS[2], id, 'PX', ARGV[9])
redis.call('HINCRBY', group, 'n', 1)
redis.call('HINCRBY', group, 'rev', 1)
redis.call('HINCRBY', group, 'value:' .. ARGV[15], ARGV[16])
redis.call('HINCRBYFLOAT', group, 'major', ARGV[17])
redis.call('HINCRBY', group, 'outcome:' .. ARGV[18], 1)
redis.call('HSET', group, 'last', now)
if tonumber(ARGV[13]) >= tonumber(redis.call('HGET', group, 'sev')) then redis.call('HSET', group, 'sev', ARGV[13], 'alert', ARGV[14]) end
redis.call('RPUSH', members, ARGV[19] .. ' ' .. ARGV[16] .. ' ' .. ARGV[15] .. ' ' .. ARGV[4])
redis.call('PEXPIRE', group, ARGV[10])
redis.call('PEXPIRE', members, ARGV[10])
redis.call('ZADD', KEYS[5], now, id)
local snoozed = false
for _, scope in ipairs({ARGV[21] .. '|' .. ARGV[22] .. '|' .. ARGV[23], ARGV[21] .. '||'}) do
  local ends = ARGV[21] ~= '' and redis.call('ZSCORE', KEYS[6], scope)
  snoozed = snoozed or (ends and tonumber(ends) > now)
end
if snoozed then
  redis.call('HINCRBY', group, 'muted', 1)
  local n = redis.call('LLEN', members)
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[25], '*', 'kind', 'muted', 'alert_id', id, 'channel', '', 'from', n - 1, 'to', n)
else
  for i = 26, #ARGV, 3 do
    local told = redis.call('HMGET', group, ARGV[i] .. ':at', ARGV[i] .. ':after')
    local due = told[1] and math.max(now, told[1] + ARGV[i + 2]) or now + ARGV[i + 1]
    redis.call('ZADD', ARGV[8] .. ARGV[i], 'LT', math.max(due, tonumber(told[2] or 0)), id)
  end
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return {joins and 'J' or 'N', id}
