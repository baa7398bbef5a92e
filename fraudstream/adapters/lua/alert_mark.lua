#!lua flags=allow-oom
-- alert_mark: note what a person said of an alert group, once, and have the messages about it say so.
-- KEYS  1 group hash, 2 journal, 3 alertsnoozes, 4 labels stream, 5 member list
-- ARGV  1 group id, 2 field that must be different, 3 its value, 4 prefix of due zsets, 5 journal length, 6 snooze scope ('' = none),
--       7 snooze until ms, 8 label ('' = none), 9 source of the label, 10 moment of the label (RFC 3339), 11 field of who,
--       12 who, 13 number of channels, channels; then field, value ... of the journal
-- Reply: {'A', what the field was, labels written} | {'S', who} it says so already | {'X'} there is no such group
if redis.call('EXISTS', KEYS[1]) == 0 then return {'X'} end
local before = redis.call('HMGET', KEYS[1], ARGV[2], ARGV[11])
if (before[1] or '') == ARGV[3] then return {'S', before[2] or ''} end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], ARGV[11], ARGV[12])
redis.call('HINCRBY', KEYS[1], 'rev', 1)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[3], ARGV[7], ARGV[6]) end
local labels, turn = 0, redis.call('HINCRBY', KEYS[1], 'turn', 1)
if ARGV[8] ~= '' then
  local from = 0
  repeat
    local page = redis.call('LRANGE', KEYS[5], from, from + 999)
    for _, member in ipairs(page) do
      local transaction = string.match(member, '^%d+ %-?%d+ %S+ (.*)$')
      redis.call('XADD', KEYS[4], '*', 'data', cjson.encode({label_id = ARGV[1] .. ':' .. turn .. ':' .. (from + labels % 1000),
        transaction_id = transaction, label = ARGV[8], source = ARGV[9], labelled_at = ARGV[10]}))
      labels = labels + 1
    end
    from = from + 1000
  until #page < 1000
end
local channels = tonumber(ARGV[13])
for i = 14, 13 + channels do
  if redis.call('HEXISTS', KEYS[1], ARGV[i] .. ':place') == 1 then redis.call('ZADD', ARGV[4] .. ARGV[i], 'LT', now, ARGV[1]) end
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'alert_id', ARGV[1], 'actor', ARGV[12], unpack(ARGV, 14 + channels))
return {'A', before[1] or '', labels}
