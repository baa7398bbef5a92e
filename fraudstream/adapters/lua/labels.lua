#!lua flags=allow-oom
-- labels: tell the entity states what became known of transactions; of several labels of one transaction the youngest stands.
-- KEYS  per item: label:<transaction_id> (string, TTL), its n logs, its m rings; an entity that it lacks is given as the label key
--       again and skipped
-- ARGV  1 ttl s of the label keys, 2 n, 3 m, then the record bytes of each of the n logs,
--       then resolution ms, offset, slots of each ring resolution, then '|';
--       per item: label id, then one string: labelled ms f64, event ms f64, bits f64 (4 fraud, 8 legitimate), and the bytes with which
--       the transaction's records begin; the flag byte is the last one of a record
-- Reply per item:  M  told by this call     K  this label, or a younger one of the transaction, was told before
local call, sub, byte, char, unpack_, pack, floor = redis.call, string.sub, string.byte, string.char, struct.unpack, struct.pack, math.floor
local ttl, n, m = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local a, sizes, resolutions, out = 4 + n, {}, {}, {}
for l = 1, n do sizes[l] = tonumber(ARGV[3 + l]) end
while ARGV[a] ~= '|' do
  resolutions[#resolutions + 1] = {tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])}
  a = a + 3
end
a = a + 1

local function mark(key, identity, size, bits)
  local log = call('GETRANGE', key, 0, -1)
  for at = #log - size, 0, -size do
    if sub(log, at + 1, at + #identity) == identity then
      local old = byte(log, at + size)
      call('SETRANGE', key, at + size - 1, char(old - old % 16 + old % 4 + bits))       -- the outcome in the low two bits stays
      return
    end
  end
end

local function count(key, event, change)
  for r = 1, #resolutions do
    local bucket = floor(event / resolutions[r][1])
    local at = resolutions[r][2] + 20 * (bucket % resolutions[r][3])
    local slot = call('GETRANGE', key, at, at + 19)
    if #slot == 20 then
      local there, _, frauds = unpack_('<I4I4I4', slot)
      if there == bucket and frauds + change >= 0 then call('SETRANGE', key, at + 8, pack('<I4', frauds + change)) end
    end
  end
end

for k = 1, #KEYS, 1 + n + m do
  local told, id, item = KEYS[k], ARGV[a], ARGV[a + 1]
  local at, event, bits = unpack_('<ddd', item)
  local v = call('GET', told)
  local before, was = -1, 0
  if v then before, was = unpack_('<dd', v) end
  if v and (before > at or (before == at and sub(v, 17) >= id)) then out[#out + 1] = 'K'
  else
    for l = 1, n do
      if KEYS[k + l] ~= told then mark(KEYS[k + l], sub(item, 25), sizes[l], bits) end
    end
    local change = (bits == 4 and 1 or 0) - (was == 4 and 1 or 0)
    if change ~= 0 then
      for i = k + n + 1, k + n + m do
        if KEYS[i] ~= told then count(KEYS[i], event, change) end
      end
    end
    call('SET', told, pack('<dd', at, bits) .. id, 'EX', ttl)
    out[#out + 1] = 'M'
  end
  a = a + 2
end
return out
