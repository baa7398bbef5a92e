#!lua flags=allow-oom
-- tombstone: write the dead letter of an entry that was trimmed before it was worked; nobody owns it any more.
-- KEYS  1 stream, 2 dlq, 3 dead marker of the entry (string, TTL)
-- ARGV  1 group, 2 consumer, 3 entry id, 4 marker ttl ms
-- Reply: D letter written | K letter existed
if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[4]) then return 'K' end
redis.call('XADD', KEYS[2], '*', 'source', KEYS[1], 'entry_id', ARGV[3], 'group', ARGV[1], 'consumer', ARGV[2],
  'deliveries', 0, 'reason', 'trimmed', 'error', 'the entry was trimmed before it was worked')
return 'D'
