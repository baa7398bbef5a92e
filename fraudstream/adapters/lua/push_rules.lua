#!lua flags=allow-oom
-- push_rules: keep the text of a rule set for ever, under its own hash, and note who brought it.
-- KEYS  1 body of the set (hash: text, author, at_ms, reason, name; no ttl), 2 history (stream, never trimmed)
-- ARGV  1 sha, 2 text, 3 author, 4 reason, 5 name
-- Reply: 1 it is new | 0 it was there, and stays its first author's
local call = redis.call
local time = call('TIME')
local at_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local new = call('EXISTS', KEYS[1]) == 0
if new then
  call('HSET', KEYS[1], 'text', ARGV[2], 'author', ARGV[3], 'at_ms', at_ms, 'reason', ARGV[4], 'name', ARGV[5])
end
call('XADD', KEYS[2], '*', 'kind', 'push', 'rule_set', ARGV[1], 'actor', ARGV[3], 'reason', ARGV[4], 'seq', 0)
return new and 1 or 0
