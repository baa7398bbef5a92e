#!lua flags=allow-oom
-- trim: drop what every listed group has acknowledged.
-- KEYS  1 stream   ARGV  the groups that must exist on it
-- Reply: entries removed, or -1 when a listed group is missing (trim nothing)
local safe, seen = nil, 0
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local function lower(a, b)
  local am, as = a:match('(%d+)-(%d+)'); local bm, bs = b:match('(%d+)-(%d+)')
  if #am ~= #bm then return #am < #bm end
  if am ~= bm then return am < bm end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local f = {}
  for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
  for _, want in ipairs(ARGV) do
    if f['name'] == want then
      seen = seen + 1
      local p = redis.call('XPENDING', KEYS[1], want)
      local id = p[1] > 0 and p[2] or f['last-delivered-id']
      if not safe or lower(id, safe) then safe = id end
    end
  end
end
if seen < #ARGV then return -1 end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', safe)
