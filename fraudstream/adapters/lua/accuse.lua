#!lua flags=allow-oom
-- accuse: set the count of an entry that is about to be tried alone, so that it stands if whoever tries it dies of it.
-- KEYS  1 stream, 2 hash of the group: entry -> deaths that may have had another reason
-- ARGV  1 group, 2 consumer, 3 entry id, 4 count, 5 whom a death would speak against ('1' the entry; '0' perhaps another of its
--       group: those come first; 'D' perhaps something else; 'B' nobody: the try is over, the count is what it was),
--       6 count from which entries are tried alone, 7 how many such deaths weigh as one, 8 ttl of the hash in s
-- Reply: C counted | N not counted | O not counted, others are to be tried before it | G not in our hands any more
local call = redis.call
local p = call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #p == 0 or p[1][2] ~= ARGV[2] then return 'G' end

local function others()
  -- Whether the group has another entry that was tried alone less often than this one, or not at all.
  local doubts, flat = {}, call('HGETALL', KEYS[2])
  for i = 1, #flat, 2 do doubts[flat[i]] = tonumber(flat[i + 1]) end
  for _, q in ipairs(call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)) do
    if q[4] < tonumber(ARGV[6]) or (doubts[q[1]] or 0) < (doubts[ARGV[3]] or 0) then return true end
  end
  for _, g in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
    local f = {}
    for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
    if f['name'] == ARGV[1] then return #call('XRANGE', KEYS[1], '(' .. f['last-delivered-id'], '+', 'COUNT', 1) > 0 end
  end
  return true
end

local reply = 'C'
if ARGV[5] == 'B' then call('HDEL', KEYS[2], ARGV[3])
elseif ARGV[5] == '0' and others() then reply = 'O'
elseif ARGV[5] ~= '1' then
  local deaths = call('HINCRBY', KEYS[2], ARGV[3], 1)
  call('EXPIRE', KEYS[2], ARGV[8])
  if deaths % tonumber(ARGV[7]) > 0 then reply = 'N' end
end
call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', reply == 'C' and ARGV[4] or ARGV[4] - 1, 'JUSTID')
return reply
