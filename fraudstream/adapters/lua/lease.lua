#!lua flags=allow-oom
-- lease: who serves which partition of a group; equal shares, the dead replaced.
-- KEYS  1 zset: worker -> end of its life in ms; 2 hash: partition -> '<fencing number> <worker>', without a worker when it is free
-- ARGV  1 worker, 2 life ms (0 = leave), 3 partitions, then the partitions that the worker gives back
-- Reply: how many this worker should have, then partition and fencing number of each that it has
local call, floor = redis.call, math.floor
local t = call('TIME')
local now = t[1] * 1000 + floor(t[2] / 1000)
local me, life, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if life > 0 then call('ZADD', KEYS[1], now + life, me) else call('ZREM', KEYS[1], me) end
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local workers = call('ZRANGE', KEYS[1], 0, -1)
table.sort(workers)                             -- the same order for everybody: shares differ by one at most, and add up
local alive, share = {}, 0
for rank, worker in ipairs(workers) do
  alive[worker] = true
  if worker == me then share = floor(count / #workers) + (rank <= count % #workers and 1 or 0) end
end
local numbers, owners, held = {}, {}, 0
local flat = call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  local number, owner = flat[i + 1]:match('^(%d+) (.*)$')
  numbers[flat[i]], owners[flat[i]] = tonumber(number), alive[owner] and owner or nil
end
for a = 4, #ARGV do
  if owners[ARGV[a]] == me then
    owners[ARGV[a]] = nil
    call('HSET', KEYS[2], ARGV[a], numbers[ARGV[a]] .. ' ')
  end
end
local out = {share}
for p = 0, count - 1 do
  if owners[tostring(p)] == me then held = held + 1 end
end
for p = 0, count - 1 do
  local name = tostring(p)
  if not owners[name] and held < share then
    held, owners[name], numbers[name] = held + 1, me, (numbers[name] or 0) + 1
    call('HSET', KEYS[2], name, numbers[name] .. ' ' .. me)
  end
  if owners[name] == me then
    out[#out + 1] = p
    out[#out + 1] = numbers[name]
  end
end
for k = 1, 2 do call('EXPIRE', KEYS[k], 86400) end
return out
