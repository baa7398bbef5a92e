#!lua flags=allow-oom
-- claim: take over entries whose owner is gone. Keep the cursor between calls.
-- KEYS  1 stream, 2 heartbeat zset, 3 retry zset of the group
-- ARGV  1 group, 2 consumer, 3 min idle ms, 4 hard idle ms, 5 count, 6 cursor ('-' or '(' .. last id),
--       7 up to how many hand-outs are counted
-- Reply: last id scanned ('' = end reached, start again at '-'), then {id, deliveries, fields} per entry;
--        fields is false when the entry was trimmed (acknowledged here: count it, write a tombstone)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local out, last = {}, ''
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], ARGV[6], '+', ARGV[5])) do
  local id, owner, idle, deliveries = p[1], p[2], p[3], p[4]
  local hb, due = redis.call('ZSCORE', KEYS[2], owner), redis.call('ZSCORE', KEYS[3], id)
  local gone = not hb or tonumber(hb) < now or idle > tonumber(ARGV[4])
  if gone and not (due and tonumber(due) > now) then
    if deliveries > 1 and out[1] then return {last, out} end           -- a suspect travels alone
    -- Of what its owner died nobody knows: being handed out again makes a suspect, and convicts nobody.
    local count = math.max(deliveries, math.min(deliveries + 1, tonumber(ARGV[7])))
    local c = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], id, 'RETRYCOUNT', count)
    redis.call('ZREM', KEYS[3], id)
    if c[1] then out[#out + 1] = {id, count, c[1][2]}
    else
      redis.call('XACK', KEYS[1], ARGV[1], id)
      out[#out + 1] = {id, count, false}
    end
    if deliveries > 1 then return {id, out} end
  end
  last = id
end
return {last, out}
