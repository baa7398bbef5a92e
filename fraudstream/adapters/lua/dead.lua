#!lua flags=allow-oom
-- dead: write one dead letter for an entry, or for one part of it, once for all groups.
-- KEYS  1 stream, 2 dlq, 3 dead marker (string, TTL)
-- ARGV  1 group, 2 consumer, 3 entry id, 4 marker ttl ms, then field, value ... for the letter: reason, error and the entry's own
--       fields, already masked; the script copies nothing from the stream
-- Reply: D letter written | K letter existed | G not in our hands any more
local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #p == 0 or p[1][2] ~= ARGV[2] then return 'G' end
if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[4]) then return 'K' end
redis.call('XADD', KEYS[2], '*', 'source', KEYS[1], 'entry_id', ARGV[3], 'group', ARGV[1], 'consumer', ARGV[2],
  'deliveries', p[1][4], unpack(ARGV, 5))
return 'D'
