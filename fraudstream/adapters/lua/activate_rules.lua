#!lua flags=allow-oom
-- activate_rules: point the fleet at a rule set, unless somebody else was faster.
-- KEYS  1 pointer (hash: seq, rule_set, kind, actor, author, at_ms, reason; no ttl), 2 history (stream), 3 body of the set
--       (the pointer again where the set is the empty one, the file of the settings)
-- ARGV  1 seq that was seen, 2 sha or '', 3 kind (activate, rollback, disable, trip), 4 actor, 5 reason
-- Reply: the new seq | -1 somebody else was faster | -2 there is no such set
local call = redis.call
local seq = tonumber(call('HGET', KEYS[1], 'seq') or '0')
if seq ~= tonumber(ARGV[1]) then return -1 end
if ARGV[2] ~= '' and call('EXISTS', KEYS[3]) == 0 then return -2 end
local time = call('TIME')
local at_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local author = ARGV[2] ~= '' and call('HGET', KEYS[3], 'author') or ''
call('HSET', KEYS[1], 'seq', seq + 1, 'rule_set', ARGV[2], 'kind', ARGV[3], 'actor', ARGV[4], 'author', author,
  'at_ms', at_ms, 'reason', ARGV[5])
call('XADD', KEYS[2], '*', 'kind', ARGV[3], 'rule_set', ARGV[2], 'actor', ARGV[4], 'reason', ARGV[5], 'seq', seq + 1)
return seq + 1
