#!lua flags=allow-oom
-- complete: record the verdicts of one group; join, emit once, acknowledge. Or those of both at once, of entries that one process holds in both.
-- KEYS  1 raw stream, 2 decisions stream, 3 fraud stream, 4 waiting zset of the other group; then per item: txn:<id>;
--       then, per item with marks, its n logs (the txn key again where it has none)
-- ARGV  1 group, 2 group byte, 3 consumer, 4 ttl s after emission, 5 decision deadline ms (0 = off), 6 lowest and 7 highest entry id of the items,
--       8 bound on the scan of our pending entries, 9 number of items, 10 n, then the record bytes of each of the n logs;
--       then the length of the prefix of a txn key, and the channel on which first verdicts are told ('' = nobody follows);
--       then the other group and our consumer there, where the decisions are from the verdicts of both ('' and '' = from those of one);
--       per item: entry id, record (group byte, 8-byte write id, vector, verdict) to store
--       if first, '' beside a decision; '' or, in one string: basis (the 8-byte write id of the other record; of both groups: any), flagged ('1' or '0'),
--       length of the marks in one byte, marks (none, or the bytes with which the transaction's records begin, and the outcome to set in
--       their last byte's low two bits), decision
-- Reply: server time in ms, then per item
--        O  verdict noted, acknowledged        E  decision emitted, acknowledged      U  not needed (a second entry of this id, or decided), acknowledged
--        A  no record (lost history): touch again     G  not in our hands any more    else the other group's record: decide from it, call again
--        and where the decisions are from both: E, acknowledged in both groups, or S  not ours in both, or somebody has noted a verdict: nothing was done
local call, sub = redis.call, string.sub
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local mine = {}
for _, p in ipairs(call('XPENDING', KEYS[1], ARGV[1], ARGV[6], ARGV[7], ARGV[8], ARGV[3])) do mine[p[1]] = true end
local both = ARGV[13 + ARGV[10]]
if both ~= '' then       -- an entry counts as ours where it is ours in both groups
  local there = {}
  for _, p in ipairs(call('XPENDING', KEYS[1], both, ARGV[6], ARGV[7], ARGV[8], ARGV[14 + ARGV[10]])) do there[p[1]] = mine[p[1]] end
  mine = there
end
local me, items, n, sizes = ARGV[2], tonumber(ARGV[9]), tonumber(ARGV[10]), {}
for l = 1, n do sizes[l] = tonumber(ARGV[10 + l]) end
local out, acks, emit, alerts = {now}, {}, {}, {}
local a, logs, prefix = 15 + n, 4 + items, tonumber(ARGV[11 + n])
local txns, moved, noted, decided = {}, {}, {}, {}
for i = 1, items do txns[i] = KEYS[4 + i] end
local stood = call('MGET', unpack(txns))       -- one read for all, and one write for those that are noted

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

local function decide(i, txn, emission, marks)
  if marks > 0 then
    local identity, outcome = sub(emission, 11, 9 + marks), string.byte(emission, 10 + marks)
    for l = 1, n do
      if KEYS[logs + l] ~= txn then mark(KEYS[logs + l], identity, sizes[l], outcome) end
    end
  end
  emit[#emit + 1] = sub(KEYS[4 + i], prefix + 1)
  emit[#emit + 1] = sub(emission, 11 + marks)
  if sub(emission, 9, 9) == '1' then alerts[#alerts + 1] = #emit end
  decided[#decided + 1] = txn
  moved[txn] = 'D'
  return 'E'
end

local function judge()
  for i = 1, items do
    local id, txn, r, record, emission = ARGV[a], txns[i], both == '' and 'G' or 'S', ARGV[a + 1], ARGV[a + 2]
    local marks = emission == '' and 0 or string.byte(emission, 10)
    if mine[id] then
      local v = moved[txn] or stood[i]
      local s = v and sub(v, 1, 1)
      if both ~= '' then
        if s == 'T' or s == 'L' then r = decide(i, txn, emission, marks) end
      elseif not s then r = 'A'
      elseif s == 'T' or s == 'L' then
        if record == '' then r = 'A'                                        -- what the decision rests on went with a part of the history
        else
          noted[#noted + 1] = txn
          noted[#noted + 1] = record
          moved[txn], r = record, 'O'
        end
      elseif s == 'D' or s == me then r = 'U'
      elseif sub(emission, 1, 8) == sub(v, 2, 9) then r = decide(i, txn, emission, marks)
      else r = v end
      if r == 'O' or r == 'U' or r == 'E' then acks[#acks + 1] = id end
    end
    if marks > 0 then logs = logs + n end
    out[i + 1] = r
    a = a + 3
  end
end

local ok, err = pcall(judge)       -- an item that fails, by a key of another type, takes nothing away from those before it
for _, at in ipairs(alerts) do call('XADD', KEYS[3], '*', 'transaction_id', emit[at - 1], 'decision', emit[at]) end
-- Sixteen decisions to an entry: one of all of them would be moved again and again while it grows, and cost a sixth more.
for i = 1, #emit, 32 do call('XADD', KEYS[2], '*', unpack(emit, i, math.min(i + 31, #emit))) end
for _, txn in ipairs(decided) do call('SET', txn, 'D', 'EX', ARGV[4]) end
if #noted > 0 then
  call('MSET', unpack(noted))
  if ARGV[5] ~= '0' then call('ZADD', KEYS[4], now + ARGV[5], ARGV[6] .. ' ' .. ARGV[7]) end
  if ARGV[12 + n] ~= '' then call('SPUBLISH', ARGV[12 + n], ARGV[7]) end
end
if #acks > 0 then
  call('XACK', KEYS[1], ARGV[1], unpack(acks))
  if both ~= '' then call('XACK', KEYS[1], both, unpack(acks)) end
end
if not ok then return redis.error_reply('ERR complete item ' .. #out .. ': ' .. tostring(type(err) == 'table' and err.err or err)) end
return out
