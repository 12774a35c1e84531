-- Read what each live worker instance serves: the newest first, some of them. Writes nothing.
-- KEYS: the sorted set of worker instances by when they were seen, the hash of what each serves.
-- ARGV: how many seconds of silence are one too many; how many instances are looked at.

local now = redis.call('TIME')
local since = string.format('%d.%06d', now[1] - ARGV[1], now[2])
local found = {}
for _, instance in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. since, 'LIMIT', 0, ARGV[2])) do
  local serving = redis.call('HGET', KEYS[2], instance)
  if serving then found[#found + 1] = serving end
end
return found
