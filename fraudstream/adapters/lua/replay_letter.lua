#!lua flags=allow-oom
-- replay_letter: put a dead letter back on a stream and take it out of the dead letters, in one step, once.
-- KEYS  1 dlq, 2 stream, 3 dead marker of the letter's part (string), 4 txn:<id> (string; the dlq again where deduplication is not asked)
-- ARGV  1 letter id, 2 '1' = the transaction must still be known as decided, 3 ttl ms that a decided transaction keeps at least,
--       then field, value ... of the entry
-- Reply: id of the new entry | K the letter is gone | X the transaction is not known as decided any more
local call = redis.call
if #call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'K' end
if KEYS[4] ~= KEYS[1] then
  if call('GETRANGE', KEYS[4], 0, 0) == 'D' then
    if call('PTTL', KEYS[4]) < tonumber(ARGV[3]) then call('PEXPIRE', KEYS[4], ARGV[3]) end
  elseif ARGV[2] == '1' then return 'X' end
end
local id = call('XADD', KEYS[2], '*', unpack(ARGV, 4))
call('XDEL', KEYS[1], ARGV[1])
call('DEL', KEYS[3])
return id
