#!lua flags=allow-oom
-- hand_back: give entries back that were not worked, so that anybody may claim them at once.
-- KEYS  1 stream   ARGV  1 group, 2 consumer, then entry ids
-- Reply: how many were ours
local n = 0
for i = 3, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if #p == 1 and p[1][2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], '__retry__', 0, ARGV[i], 'IDLE', 1000000000000, 'JUSTID')
    n = n + 1
  end
end
return n
