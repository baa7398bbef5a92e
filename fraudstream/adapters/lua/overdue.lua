#!lua flags=allow-oom
-- overdue: take over the entries of a group whose first verdicts have waited longer than the decision deadline.
-- KEYS  1 raw, 2 waiting zset of the group
-- ARGV  1 group, 2 consumer, 3 grace ms, 4 count, 5 when it was asked by this clock, in ms (0 = whenever), 6 most ms since then
-- Reply: more (1 = ranges are left that are due now: call again at once; -1 = asked too long ago, nothing was looked at), then {id, fields}
--        per entry; fields is false when trimmed (acknowledged here)
local call = redis.call
local t = call('TIME')
local now, grace, count = t[1] * 1000 + math.floor(t[2] / 1000), tonumber(ARGV[3]), tonumber(ARGV[4])
local out, last = {}, nil
if tonumber(ARGV[5]) > 0 and now - ARGV[5] > tonumber(ARGV[6]) then return {-1, out} end
local ranges = call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 64)
for n, range in ipairs(ranges) do
  if #out >= count then return {1, out} end
  local lowest, highest = range:match('(%S+) (%S+)')
  local open = false
  for _, p in ipairs(call('XPENDING', KEYS[1], ARGV[1], lowest, highest, count)) do
    open = true
    if p[2] ~= ARGV[2] and p[3] >= grace then
      call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, p[1], 'JUSTID')     -- a step-in is no delivery
      local e = call('XRANGE', KEYS[1], p[1], p[1])[1]
      if not e then call('XACK', KEYS[1], ARGV[1], p[1]) end
      out[#out + 1] = {p[1], e and e[2] or false}
    end
  end
  if not last then
    for _, g in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
      local f = {}
      for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
      if f['name'] == ARGV[1] then last = f['last-delivered-id'] end
    end
  end
  local unread = #call('XRANGE', KEYS[1], '(' .. last, highest, 'COUNT', count)
  if unread > 0 then
    open = true
    local r = call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', unread, 'STREAMS', KEYS[1], '>')
    for _, e in ipairs(r and r[1][2] or {}) do out[#out + 1] = {e[1], e[2]}; last = e[1] end
  end
  if open then call('ZADD', KEYS[2], now + grace, range)                -- look again after the grace time, the others first
  else call('ZREM', KEYS[2], range) end
end
return {#ranges == 64 and 1 or 0, out}
