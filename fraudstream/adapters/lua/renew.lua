#!lua flags=allow-oom
-- renew: heartbeat, and keep the entries in hand from being claimed.
-- KEYS  1 stream, 2 heartbeat zset   ARGV  1 group, 2 consumer, 3 heartbeat ttl ms, 4 idle ms from which on an entry is renewed,
--       then the entry ids in hand in the order of the stream
-- Reply: ids that are no longer ours
local call = redis.call
local t = call('TIME')
call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[3], ARGV[2])
local idle, lost, first = {}, {}, ARGV[5]
while first do       -- a look at all of them: one for each, and a renewal of each, took Redis 6 us apiece
  local page = call('XPENDING', KEYS[1], ARGV[1], first, ARGV[#ARGV], 1000, ARGV[2])
  for _, p in ipairs(page) do idle[p[1]] = p[3] end
  first = #page == 1000 and '(' .. page[1000][1]
end
for i = 5, #ARGV do
  local since = idle[ARGV[i]]
  if not since then lost[#lost + 1] = ARGV[i]
  elseif since >= tonumber(ARGV[4]) then call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID') end
end
return lost
