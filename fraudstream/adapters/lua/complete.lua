#!lua flags=allow-oom
-- complete: record the verdicts of one group; join, emit once, acknowledge.
-- KEYS  1 raw stream, 2 decisions stream, 3 fraud stream, 4 waiting zset of the other group; then per item: txn:<id>;
--       then, per item with marks, its n logs (the txn key again where it has none)
-- ARGV  1 group, 2 group byte, 3 consumer, 4 ttl s after emission, 5 decision deadline ms (0 = off), 6 lowest and 7 highest entry id of the items,
--       8 bound on the scan of our pending entries, 9 number of items, 10 n, then the record bytes of each of the n logs;
--       per item: entry id, transaction id, record (group byte, 8-byte write id, vector, verdict) to store if first,
--       basis (write id of the other record, or ''), decision ('' without basis), flagged ('1' or '0'),
--       marks ('' or the bytes with which the transaction's records begin, and the outcome to set in their last byte's low two bits)
-- Reply: server time in ms, then per item
--        O  verdict noted, acknowledged        E  decision emitted, acknowledged      U  not needed (a second entry of this id, or decided), acknowledged
--        A  no record (lost history): touch again     G  not in our hands any more    else the other group's record: decide from it, call again
local call, sub = redis.call, string.sub
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local mine = {}
for _, p in ipairs(call('XPENDING', KEYS[1], ARGV[1], ARGV[6], ARGV[7], ARGV[8], ARGV[3])) do mine[p[1]] = true end
local me, items, n, sizes = ARGV[2], tonumber(ARGV[9]), tonumber(ARGV[10]), {}
for l = 1, n do sizes[l] = tonumber(ARGV[10 + l]) end
local out, acks, emit, first = {now}, {}, {}, false
local a, logs = 11 + n, 4 + items

local function mark(key, identity, size, outcome)
  local log = call('GETRANGE', key, 0, -1)
  for at = #log - size, 0, -size do
    if sub(log, at + 1, at + #identity) == identity then
      local old = string.byte(log, at + size)
      call('SETRANGE', key, at + size - 1, string.char(old - old % 4 + outcome))       -- a label that was quicker stays
      return
    end
  end
end

for i = 1, items do
  local id, txn, r, marks = ARGV[a], KEYS[4 + i], 'G', ARGV[a + 6]
  if mine[id] then
    local v = call('GET', txn)
    local s = v and sub(v, 1, 1)
    if not s then r = 'A'
    elseif s == 'T' or s == 'L' then
      call('SET', txn, ARGV[a + 2])
      first, r = true, 'O'
    elseif s == 'D' or s == me then r = 'U'
    elseif ARGV[a + 3] == sub(v, 2, 9) then
      if marks ~= '' then
        for l = 1, n do
          if KEYS[logs + l] ~= txn then mark(KEYS[logs + l], sub(marks, 1, -2), sizes[l], string.byte(marks, -1)) end
        end
      end
      emit[#emit + 1] = ARGV[a + 1]
      emit[#emit + 1] = ARGV[a + 4]
      if ARGV[a + 5] == '1' then call('XADD', KEYS[3], '*', 'transaction_id', ARGV[a + 1], 'decision', ARGV[a + 4]) end
      call('SET', txn, 'D', 'EX', ARGV[4])
      r = 'E'
    else r = v end
    if r == 'O' or r == 'U' or r == 'E' then acks[#acks + 1] = id end
  end
  if marks ~= '' then logs = logs + n end
  out[i + 1] = r
  a = a + 7
end
if first and ARGV[5] ~= '0' then call('ZADD', KEYS[4], now + ARGV[5], ARGV[6] .. ' ' .. ARGV[7]) end
if #emit > 0 then call('XADD', KEYS[2], '*', unpack(emit)) end
if #acks > 0 then call('XACK', KEYS[1], ARGV[1], unpack(acks)) end
return out
