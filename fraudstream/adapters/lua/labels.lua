#!lua flags=allow-oom
-- labels: tell the entity states what became known of transactions; of several labels of one transaction the youngest stands.
-- KEYS  per item: label:<transaction_id> (string, TTL), its n logs, its m rings; an entity that it lacks is given as the label key
--       again and skipped
-- ARGV  1 ttl s of the label keys, 2 n, 3 m, 4 record bytes, 5 offset of the flag byte in a record,
--       then resolution ms, offset, slots of each ring resolution, then '|';
--       per item: label id, then one string: 8-byte hash of the transaction, labelled ms f64, event ms f64, bits f64 (4 fraud, 8 legitimate)
-- Reply per item:  M  told by this call     K  this label, or a younger one of the transaction, was told before
local call, sub, byte, char, unpack_, pack, floor = redis.call, string.sub, string.byte, string.char, struct.unpack, struct.pack, math.floor
local ttl, n, m, size, flag = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local a, resolutions, out = 6, {}, {}
while ARGV[a] ~= '|' do
  resolutions[#resolutions + 1] = {tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])}
  a = a + 3
end
a = a + 1

local function mark(key, hash, bits)
  local log = call('GETRANGE', key, 0, -1)
  for at = #log - size, 0, -size do
    if sub(log, at + 1, at + 8) == hash then
      local old = byte(log, at + flag + 1)
      call('SETRANGE', key, at + flag, char(old - old % 16 + old % 4 + bits))       -- the outcome in the low two bits stays
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
  local at, event, bits = unpack_('<ddd', sub(item, 9))
  local v = call('GET', told)
  local before, was = -1, 0
  if v then before, was = unpack_('<dd', v) end
  if v and (before > at or (before == at and sub(v, 17) >= id)) then out[#out + 1] = 'K'
  else
    for i = k + 1, k + n do
      if KEYS[i] ~= told then mark(KEYS[i], sub(item, 1, 8), bits) end
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
