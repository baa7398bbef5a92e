#!lua
-- preload: give many keys the same value at once, for measurements only: it names keys that it was not given.
-- KEYS  1 prefix of the keys (string, ttl)
-- ARGV  1 first number, 2 last number, 3 value, 4 ttl s
-- Reply: how many
for n = ARGV[1], ARGV[2] do redis.call('SET', KEYS[1] .. string.format('%d', n), ARGV[3], 'EX', ARGV[4]) end
return ARGV[2] - ARGV[1] + 1
