#!lua flags=allow-oom
-- activate_list: point the fleet at a version of one list, unless somebody else was faster.
-- KEYS  1 pointers (hash: name of the list -> JSON; no ttl), 2 history (stream, never trimmed), 3 body of the version
--       (the pointers again where the version is the empty one: the file of each worker)
-- ARGV  1 name, 2 seq that was seen, 3 version or '', 4 kind, 5 actor, 6 reason, 7 entries, 8 added, 9 removed
-- Reply: the new seq | -1 somebody else was faster | -2 there is no such body
local call = redis.call
local seen = call('HGET', KEYS[1], ARGV[1])
local seq = seen and cjson.decode(seen)['seq'] or 0
if seq ~= tonumber(ARGV[2]) then return -1 end
if ARGV[3] ~= '' and call('EXISTS', KEYS[3]) == 0 then return -2 end
local time = call('TIME')
local at_ms = time[1] * 1000 + math.floor(time[2] / 1000)
call('HSET', KEYS[1], ARGV[1], cjson.encode({seq = seq + 1, version = ARGV[3], kind = ARGV[4], actor = ARGV[5],
  reason = ARGV[6], entries = tonumber(ARGV[7]), at_ms = at_ms}))
call('XADD', KEYS[2], '*', 'list', ARGV[1], 'seq', seq + 1, 'version', ARGV[3], 'kind', ARGV[4], 'actor', ARGV[5],
  'reason', ARGV[6], 'entries', ARGV[7], 'added', ARGV[8], 'removed', ARGV[9])
return seq + 1
