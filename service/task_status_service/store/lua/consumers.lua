-- Read which task types and queues each live worker instance consumes, newest first. Writes nothing.
-- KEYS: the sorted set of worker instances by their last heartbeat, the hash of what each instance consumes.
-- ARGV: JSON (script_heads.py, ConsumersHead). Entries above the limits are omitted.
-- Returns nil if a key is missing or has another type: then it is unknown which workers are live.

local head = cjson.decode(ARGV[1])
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' or redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return false end
local now = redis.call('TIME')
local since = string.format('%d.%06d', now[1] - head.stalled_after_seconds, now[2])
local found, total = {}, 0

local instances = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. since, 'LIMIT', 0, head.limit)
for _, instance in ipairs(instances) do
  local size = redis.call('HSTRLEN', KEYS[2], instance)
  if size > 0 and size <= head.entry_bytes and total + size <= head.total_bytes then
    total = total + size
    found[#found + 1] = redis.call('HGET', KEYS[2], instance)
  end
end
return found
