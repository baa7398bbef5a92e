#!lua flags=allow-oom
-- keep_list: keep an uploaded body for ever, under its own hash.
-- KEYS  1 upload (hash: kind, sha, bytes, entries, parent, depth, author, and the chunks by number; ttl one hour),
--       2 body (the same, no ttl)
-- Reply: 1 it is new | 0 it was there
local call = redis.call
if call('EXISTS', KEYS[2]) == 1 then
  call('UNLINK', KEYS[1])
  return 0
end
call('RENAME', KEYS[1], KEYS[2])
call('PERSIST', KEYS[2])
return 1
