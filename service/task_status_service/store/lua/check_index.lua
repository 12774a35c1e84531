-- Remove members of one key of the index whose record has vanished, is elsewhere, or has expired: Redis evicts records
-- and not the index, and an operator may delete a record. shared.lua precedes this script.
-- KEYS: the index by expiry, the set of all index keys.
-- ARGV: JSON (script_heads.py, SweepHead); the key at which the check begins, or '' for the first one; the rank in it.
-- Returns the key and the rank at which the next check begins; '' at the end.

local head = cjson.decode(ARGV[1])
names, retention, expiry, index_keys = head.names, head, KEYS[1], KEYS[2]

-- All members have the score 0: Redis orders by score first, so any other one would hide keys from the next command.
on('ZREMRANGEBYSCORE', index_keys, '-inf', '(0')
on('ZREMRANGEBYSCORE', index_keys, '(0', '+inf')
local from = ARGV[2] == '' and '-' or '[' .. ARGV[2]
local key = on('ZRANGEBYLEX', index_keys, from, '+', 'LIMIT', 0, 1)[1]
if not key then return {'', 0} end
-- The least key after this one.
local after = key .. '\0'
if string.sub(key, 1, #names.index) ~= names.index or key == expiry or key == index_keys then
  redis.call('ZREM', index_keys, key)
  return {after, 0}
end

local rank = key == ARGV[2] and tonumber(ARGV[3]) or 0
local ids = on('ZRANGE', key, rank, rank + head.limit - 1)
if #ids == 0 and rank == 0 then redis.call('ZREM', index_keys, key) end
local count = 0
for _, id in ipairs(ids) do
  local is = redis.pcall('HMGET', names.records .. id, F.valid_until, F.seq, F.indexed_as, F.name, F.owner)
  if is.err or not is[2] or not is_at(key, is[3], is[4], is[5]) then
    redis.call('ZREM', key, id)
  elseif (number(is[1]) or seconds + 1) <= seconds then
    expire(id)
  else
    count = count + 1
  end
end
if #ids < head.limit then return {after, 0} end
return {key, rank + count}
