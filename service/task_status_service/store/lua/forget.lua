-- Delete a task: its record, its call, its marker, its members of the index, and Celery's meta if the same Redis holds
-- it. Returns 1; returns 0 and changes nothing if the task may no longer be done.
-- KEYS: the index by expiry, the record, other keys to delete.
-- ARGV: JSON (script_heads.py, ForgetHead); the `seq` of the record when the task was read as done.

local expiry, record = table.remove(KEYS, 1), KEYS[1]
local head, read_seq = cjson.decode(ARGV[1]), ARGV[2]
local id, names = head.id, head.names
-- A key of another type holds no record.
local is = redis.pcall('HMGET', record, 'seq', 'final', 'indexed_as', 'name', 'owner')
local name, owner = is[4] or '', is[5] or ''

-- A final record stays final. A task that is done only according to Celery's meta must have an unchanged record.
if is[2] ~= '1' and (is[1] or '') ~= read_seq then return 0 end

redis.call('DEL', unpack(KEYS))
for _, base in ipairs(owner == '' and {names.index} or {names.index, names.owner .. owner .. names.owner_end}) do
  if is[3] then redis.call('ZREM', base .. names.state .. is[3], id) end
  if name ~= '' then redis.call('ZREM', base .. names.name .. name, id) end
end
redis.call('ZREM', expiry, id .. '\0' .. owner .. '\0' .. name)
redis.call('PUBLISH', record, 'forgotten')
return 1
