#!lua flags=allow-oom
-- touch: move the entity states of each transaction once, and say where it stands for this group.
-- KEYS  1 raw stream; per item: txn:<id> (string, no TTL until decided), its n logs (string, TTL), its m rings (string, TTL);
--       an entity that it lacks, or that fills a second role, is given as the txn key again and skipped
-- ARGV  1 group, 2 group byte, 3 horizon ms (0 = off), 4 state ttl s, 5 records of a full log, 6 records dropped then, 7 n, 8 m,
--       then the record bytes of each of the n logs, then resolution ms, offset, slots of each ring resolution, then '|';
--       per item: entry id, then one string: event ms f64, amount f64, one byte ('1' = refresh the TTLs), the record of each log
-- Reply per item:  D  done for this group, acknowledged here: a duplicate     d  done, and no longer pending
--                  T  touched by this call      t  touched before             L  touched late: its states were left alone
--                  else the other group's record
local call, sub, unpack_, pack, floor = redis.call, string.sub, struct.unpack, struct.pack, math.floor
local t = call('TIME')
local now = t[1] * 1000 + floor(t[2] / 1000)
local group, me, horizon, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local cap, drop, n, m = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local a, sizes, resolutions = 9 + n, {}, {}
for l = 1, n do sizes[l] = tonumber(ARGV[8 + l]) end
while ARGV[a] ~= '|' do
  resolutions[#resolutions + 1] = {tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])}
  a = a + 3
end
a = a + 1
local k, out, rings = 2, {}, {}

local function append(key, record, size, again)
  local length = call('APPEND', key, record)
  if length > cap * size then call('SET', key, call('GETRANGE', key, drop * size, -1), 'EX', ttl)
  elseif length == size or again then call('EXPIRE', key, ttl) end
end

local function count(key, event, amount)
  local slots = rings[key] or {}
  rings[key] = slots
  for r = 1, #resolutions do
    local bucket = floor(event / resolutions[r][1])
    local at = resolutions[r][2] + 20 * (bucket % resolutions[r][3])
    local slot = slots[at]
    if not slot then
      local old = call('GETRANGE', key, at, at + 19)
      slot = #old == 20 and {unpack_('<I4I4I4d', old)} or {0, 0, 0, 0}       -- bucket, count, frauds, sum
      slots[at] = slot
    end
    if slot[1] < bucket then slot[1], slot[2], slot[3], slot[4] = bucket, 1, 0, amount
    elseif slot[1] == bucket then slot[2], slot[4] = slot[2] + 1, slot[4] + amount end   -- an older bucket is gone: the client counts it as late
  end
end

local function move()
  while k <= #KEYS do
    local txn, id, item = KEYS[k], ARGV[a], ARGV[a + 1]
    local v = call('SET', txn, 'T', 'NX', 'GET')
    local s = v and sub(v, 1, 1)
    if not s then
      local event, amount = unpack_('<dd', item)
      if horizon > 0 and now - event > horizon then
        call('SET', txn, 'L', 'EX', 604800)
        out[#out + 1] = 'L'
      else
        local again, from = sub(item, 17, 17) == '1', 18
        for l = 1, n do
          if KEYS[k + l] ~= txn then append(KEYS[k + l], sub(item, from, from + sizes[l] - 1), sizes[l], again) end
          from = from + sizes[l]
        end
        for i = k + n + 1, k + n + m do
          if KEYS[i] ~= txn then count(KEYS[i], event, amount) end
        end
        out[#out + 1] = 'T'
      end
    elseif s == 'D' or s == me then out[#out + 1] = call('XACK', KEYS[1], group, id) == 1 and 'D' or 'd'
    elseif s == 'T' then out[#out + 1] = 't'
    else out[#out + 1] = v end
    k, a = k + 1 + n + m, a + 2
  end
end

local ok, err = pcall(move)
for key, slots in pairs(rings) do                 -- one write per slot and batch, however hot the entity; also when an item failed
  for at, slot in pairs(slots) do call('SETRANGE', key, at, pack('<I4I4I4d', slot[1], slot[2], slot[3], slot[4])) end
  call('EXPIRE', key, ttl)
end
if not ok then return redis.error_reply('ERR touch item ' .. #out + 1 .. ': ' .. tostring(type(err) == 'table' and err.err or err)) end
return out
