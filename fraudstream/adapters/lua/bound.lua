#!lua flags=allow-oom
-- bound: give keys that would live for ever a time to live; what has one keeps it.
-- KEYS  any of one slot
-- ARGV  1 ttl s
-- Reply: nothing
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[1], 'NX') end
