#!lua flags=allow-oom
-- touch: move the entity states of each transaction once, and say where it stands for this group.
-- KEYS  1 raw stream; per item: txn:<id> (string, no TTL until decided), its n logs (string, TTL), its m rings (string, TTL);
--       an entity that it lacks, or that fills a second role, is given as the txn key again and skipped
-- ARGV  1 group, 2 group byte, 3 horizon ms (0 = off), 4 state ttl s, 5 records of a full log, 6 records dropped then, 7 n, 8 m,
--       then the record bytes of each of the n logs, then resolution ms, offset, slots of each ring resolution, then '|';
--       then two strings: the items, one behind the other, each event ms f64, amount f64, one byte ('1' = refresh the TTLs), the
--       record of each log; and their entry ids, parted by blanks
-- Reply per item:  D  done for this group, acknowledged here: a duplicate     d  done, and no longer pending
--                  T  touched by this call      t  touched before             L  touched late: its states were left alone
--                  else the other group's record
local call, sub, byte, unpack_, pack, floor = redis.call, string.sub, string.byte, struct.unpack, struct.pack, math.floor
local t = call('TIME')
local now = t[1] * 1000 + floor(t[2] / 1000)
local group, me, horizon, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local cap, drop, n, m = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local a, sizes, resolutions, width, whole = 9 + n, {}, {}, 17, 0
for l = 1, n do
  sizes[l] = tonumber(ARGV[8 + l])
  width = width + sizes[l]
end
while ARGV[a] ~= '|' do
  resolutions[#resolutions + 1] = {tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])}
  whole = tonumber(ARGV[a + 1]) + 20 * tonumber(ARGV[a + 2])
  a = a + 3
end
local items, names, ids = ARGV[a + 1], ARGV[a + 2], nil
local step, out, rings, txns = 1 + n + m, {}, {}, {}

local function entry(i)
  if not ids then
    ids = {}
    for id in string.gmatch(names, '%S+') do ids[#ids + 1] = id end
  end
  return ids[i]
end

for k = 2, #KEYS, step do txns[#txns + 1] = KEYS[k] end
local stood, moved, new = call('MGET', unpack(txns)), {}, {}       -- one read for all, and one write for those that move

local function append(key, record, size, again)
  local length = call('APPEND', key, record)
  if length > cap * size then call('SET', key, call('GETRANGE', key, drop * size, -1), 'EX', ttl)
  elseif length == size or again then call('EXPIRE', key, ttl) end
end

local function count(key, event, amount, again)
  local ring = rings[key]
  if not ring then
    ring = {slots = {}, reads = 0}
    rings[key] = ring
  end
  if again then ring.again = true end
  for r = 1, #resolutions do
    local bucket = floor(event / resolutions[r][1])
    local at = resolutions[r][2] + 20 * (bucket % resolutions[r][3])
    local slot = ring.slots[at]
    if not slot then
      -- Most rings have one event in a batch, and are read slot by slot; a busy one that is not long is read whole.
      if ring.reads == 2 * #resolutions and whole <= 4096 then ring.raw = call('GETRANGE', key, 0, -1) end
      ring.reads = ring.reads + 1
      local old = ring.raw and sub(ring.raw, at + 1, at + 20) or call('GETRANGE', key, at, at + 19)
      if old == '' then ring.again = true end       -- perhaps it is new
      slot = #old == 20 and {unpack_('<I4I4I4d', old)} or {0, 0, 0, 0}       -- bucket, count, frauds, sum
      ring.slots[at] = slot
    end
    if slot[1] < bucket then slot[1], slot[2], slot[3], slot[4] = bucket, 1, 0, amount
    elseif slot[1] == bucket then slot[2], slot[4] = slot[2] + 1, slot[4] + amount end   -- an older bucket is gone: the client counts it as late
  end
end

local function shift(k, txn, at)
  local event, amount = unpack_('<dd', items, at)
  local again, from = byte(items, at + 16) == 49, at + 17
  for l = 1, n do
    if KEYS[k + l] ~= txn then append(KEYS[k + l], sub(items, from, from + sizes[l] - 1), sizes[l], again) end
    from = from + sizes[l]
  end
  for i = k + n + 1, k + n + m do
    if KEYS[i] ~= txn then count(KEYS[i], event, amount, again) end
  end
end

local function move()
  for i = 1, #txns do
    local txn, k, at = txns[i], 2 + (i - 1) * step, 1 + (i - 1) * width
    local v = moved[txn] or stood[i]
    local s = v and sub(v, 1, 1)
    if not s then
      if horizon > 0 and now - unpack_('<d', items, at) > horizon then
        call('SET', txn, 'L', 'EX', 604800)
        moved[txn], out[i] = 'L', 'L'
      else
        new[#new + 1] = txn
        new[#new + 1] = 'T'
        moved[txn] = 'T'
        shift(k, txn, at)
        out[i] = 'T'
      end
    elseif s == 'D' or s == me then out[i] = call('XACK', KEYS[1], group, entry(i)) == 1 and 'D' or 'd'
    elseif s == 'T' then out[i] = 't'
    else out[i] = v end
  end
end

local ok, err = pcall(move)
if #new > 0 then call('MSET', unpack(new)) end       -- also when an item failed: what moved before it stays moved
for key, ring in pairs(rings) do       -- one write per slot and batch, however hot the entity
  for at, slot in pairs(ring.slots) do call('SETRANGE', key, at, pack('<I4I4I4d', slot[1], slot[2], slot[3], slot[4])) end
  if ring.again then call('EXPIRE', key, ttl) end
end
if not ok then return redis.error_reply('ERR touch item ' .. #out + 1 .. ': ' .. tostring(type(err) == 'table' and err.err or err)) end
return out
