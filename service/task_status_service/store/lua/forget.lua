-- Delete a task: its record, its call, its members of the index, and Celery's meta if the same Redis holds it.
-- Returns 1; returns 0 and changes nothing if the task may no longer be done. Its id in the index by expiry is ignored
-- when it is due. shared.lua precedes this script.
-- KEYS: the record, other keys to delete.
-- ARGV: JSON (script_heads.py, ForgetHead); the `seq` of the record when the task was read as done.

local head, read_seq = cjson.decode(ARGV[1]), ARGV[2]
names = head.names
local record = KEYS[1]
-- A key of another type holds no record.
local is = redis.pcall('HMGET', record, F.seq, F.final, F.indexed_as, F.name, F.owner, F.charged)

-- A final record stays final. A task that is done only according to Celery's meta must have an unchanged record.
if is[2] ~= '1' and (is[1] or '') ~= read_seq then return 0 end

if is[1] then
  -- First, because the labels are in the record.
  remove_from_index(head.id, is[3], is[4], is[5])
  release_all(is[5], is[6])
end
redis.call('DEL', unpack(KEYS))
redis.call('PUBLISH', record, 'forgotten')
return 1
