#!lua flags=no-writes,allow-oom
-- unread: count what a group has not read, whatever XINFO says, without sending it anywhere.
-- KEYS  1 stream   ARGV  1 last delivered id, 2 most to count
-- Reply: {entries, id of the first, or '' when there is none}
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return {#found, found[1] and found[1][1] or ''}
