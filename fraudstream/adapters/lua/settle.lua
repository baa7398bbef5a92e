#!lua flags=allow-oom
-- settle: note the outcome of one channel for one alert; acknowledge when all channels are settled.
-- KEYS  1 fraud, 2 alert hash, 3 undeliverable
-- ARGV  1 group, 2 consumer, 3 entry id, 4 hash ttl ms, 5 number of channels, 6 channel, 7 outcome;
--       then field, value ... of the undeliverable entry (outcome 'undeliverable' only)
-- Reply: A all settled, acknowledged | W other channels still to settle | G not in our hands any more
local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #p == 0 or p[1][2] ~= ARGV[2] then return 'G' end
if redis.call('HSETNX', KEYS[2], ARGV[6], ARGV[7]) == 1 and ARGV[7] == 'undeliverable' then
  redis.call('XADD', KEYS[3], '*', 'entry_id', ARGV[3], 'channel', ARGV[6], unpack(ARGV, 8))
end
if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[5]) then return 'W' end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return 'A'
