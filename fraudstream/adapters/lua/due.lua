#!lua flags=allow-oom
-- due: take the entries whose delay is over.
-- KEYS  1 stream, 2 retry zset   ARGV  1 group, 2 consumer, 3 count, 4 up to how many hand-outs are counted
-- Reply: {id, deliveries, fields} per entry
local t = redis.call('TIME')
local out = {}
-- More than asked for: entries that were ended by others in the meantime stand in front, and would hide the due ones behind them.
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', t[1] * 1000 + math.floor(t[2] / 1000), 'BYSCORE', 'LIMIT', 0, ARGV[3] + 1000)) do
  if #out >= tonumber(ARGV[3]) then break end
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  if out[1] and p[1] and p[1][4] > 1 then break end                    -- a suspect travels alone
  redis.call('ZREM', KEYS[2], id)
  if #p == 1 and p[1][2] == '__retry__' then
    local count = math.max(p[1][4], math.min(p[1][4] + 1, tonumber(ARGV[4])))
    local c = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', count)
    if c[1] then out[#out + 1] = {id, count, c[1][2]}
    else
      redis.call('XACK', KEYS[1], ARGV[1], id)
      out[#out + 1] = {id, count, false}
    end
  end
end
return out
