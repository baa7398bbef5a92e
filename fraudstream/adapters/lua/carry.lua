#!lua flags=allow-oom
-- carry: replace entity states that nobody has moved since they were read.
-- KEYS  per item: the state
-- ARGV  1 ttl s, then per item: SHA-1 (hex) of the value that it was computed from ('' = there was none), the new value
-- Reply per item: 1 replaced, 0 moved meanwhile: read again
local call, out = redis.call, {}
for i = 1, #KEYS do
  local v = call('GET', KEYS[i])
  if (v and redis.sha1hex(v) or '') == ARGV[2 * i] then
    call('SET', KEYS[i], ARGV[2 * i + 1], 'EX', ARGV[1])
    out[i] = 1
  else out[i] = 0 end
end
return out
