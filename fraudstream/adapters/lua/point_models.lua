#!lua flags=allow-oom
-- point_models: say which models the fleet works with, unless somebody else was faster.
-- KEYS  1 pointer (hash: seq, champion, canary, share, shadows, kind, actor, at_ms, reason; no ttl), 2 history (stream),
--       3 and on: the note of every model that is named (of the file of the settings there is none)
-- ARGV  1 seq that was seen, 2 champion (sha or '' for the file of the settings), 3 canary (sha or ''), 4 share of the canary,
--       5 shadows (shas with commas), 6 kind (promote, rollback, canary, shadow), 7 actor, 8 reason
-- Reply: the new seq | -1 somebody else was faster | -2 a model is not known
local call = redis.call
local seq = tonumber(call('HGET', KEYS[1], 'seq') or '0')
if seq ~= tonumber(ARGV[1]) then return -1 end
for at = 3, #KEYS do
  if call('EXISTS', KEYS[at]) == 0 then return -2 end
end
local time = call('TIME')
local at_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local said = {'seq', seq + 1, 'champion', ARGV[2], 'canary', ARGV[3], 'share', ARGV[4], 'shadows', ARGV[5], 'kind', ARGV[6],
  'actor', ARGV[7], 'reason', ARGV[8]}
call('XADD', KEYS[2], '*', unpack(said))
call('HSET', KEYS[1], 'at_ms', at_ms, unpack(said))
return seq + 1
