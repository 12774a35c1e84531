-- Forget a task: its record, its call, the marker that it was known, its places in the index, and Celery's meta if that
-- is kept here. Returns 1; or 0 and changes nothing, if the task may not be done any more.
-- KEYS: the record, what else to delete. ARGV: task id, `seq` of the record when the task was seen to be done, what every
-- key of the index begins with.

local record, id, seen_seq, index = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
-- A key of another type holds no record.
local is = redis.pcall('HMGET', record, 'seq', 'final', 'indexed_as', 'name', 'owner')
local name, owner = is[4] or '', is[5] or ''

-- Done by the record stays done. Done by Celery's meta is not known here: it is as long as nothing was noted since.
if is[2] ~= '1' and (is[1] or '') ~= seen_seq then return 0 end

redis.call('DEL', unpack(KEYS))
for _, base in ipairs(owner == '' and {index} or {index, index .. 'owner:' .. owner .. ':'}) do
  if is[3] then redis.call('ZREM', base .. 'state:' .. is[3], id) end
  if name ~= '' then redis.call('ZREM', base .. 'name:' .. name, id) end
end
redis.call('ZREM', index .. 'expiry', id .. '\0' .. owner .. '\0' .. name)
redis.call('PUBLISH', record, 'forgotten')
return 1
