#!lua flags=allow-oom
-- alert_look: lead a channel (one process at a time does) and see what is due on it.
-- KEYS  1 alertdesk:<channel> (hash: leader, until, life of the lead, storm), 2 due zset, 3 alertopened
-- ARGV  1 me, 2 life of the lead ms, 3 most groups, 4 most openings, 5 prefix of group hashes
-- Reply: {now} while another leads | {now, storm or '', openings, next due ms or '', {field, value, ...} per group}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lead = redis.call('HMGET', KEYS[1], 'leader', 'until', 'storm')
if lead[1] and lead[1] ~= ARGV[1] and tonumber(lead[2]) > now then return {now} end
redis.call('HSET', KEYS[1], 'leader', ARGV[1], 'until', now + ARGV[2], 'life', ARGV[2])
local groups = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[3])) do
  if redis.call('HEXISTS', ARGV[5] .. id, 'id') == 1 then groups[#groups + 1] = redis.call('HGETALL', ARGV[5] .. id)
  else
    redis.call('ZREM', KEYS[2], id)
    redis.call('DEL', ARGV[5] .. id)                                    -- a rest of a group that a lost history took
  end
end
local after = redis.call('ZRANGE', KEYS[2], '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
return {now, lead[3] or '', redis.call('LRANGE', KEYS[3], 0, ARGV[4] - 1), after[2] or '', groups}
