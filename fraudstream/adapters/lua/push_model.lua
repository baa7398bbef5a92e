#!lua flags=allow-oom
-- push_model: note that a model is in the registry, under the hash of its bytes, and who brought it.
-- KEYS  1 note of the model (hash: manifest, author, at_ms, reason; no ttl), 2 history (stream, never trimmed)
-- ARGV  1 sha, 2 manifest, 3 author, 4 reason
-- Reply: 1 it is new | 0 it was there, and keeps its first manifest and author
local call = redis.call
local time = call('TIME')
local at_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local new = call('EXISTS', KEYS[1]) == 0
if new then
  call('HSET', KEYS[1], 'manifest', ARGV[2], 'author', ARGV[3], 'at_ms', at_ms, 'reason', ARGV[4])
end
call('XADD', KEYS[2], '*', 'kind', 'push', 'champion', ARGV[1], 'actor', ARGV[3], 'reason', ARGV[4], 'seq', 0)
return new and 1 or 0
