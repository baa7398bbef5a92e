#!lua flags=allow-oom
-- outcome: note in the logs of a decided transaction what was decided; a second call changes nothing.
-- KEYS  per item: a log
-- ARGV  per item: record bytes, outcome for the low two bits of a record's last byte, the bytes with which the record begins
-- Reply: how many records were found
local call, found = redis.call, 0
for k = 1, #KEYS do
  local size, outcome, identity = tonumber(ARGV[3 * k - 2]), tonumber(ARGV[3 * k - 1]), ARGV[3 * k]
  local log = call('GETRANGE', KEYS[k], 0, -1)
  for at = #log - size, 0, -size do
    if log:sub(at + 1, at + #identity) == identity then
      local old = log:byte(at + size)
      call('SETRANGE', KEYS[k], at + size - 1, string.char(old - old % 4 + outcome))       -- a label stays
      found = found + 1
      break
    end
  end
end
return found
