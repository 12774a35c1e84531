-- Put before note.lua: note the end of a run that is lost, unless something has happened since it was found so.
-- Answers false if something has: a note, another result of Celery's, a heartbeat. No client may be told of an end that
-- then turns out to be another one.
-- KEYS: those of note.lua, the workers, and Celery's meta if it is kept here.
-- ARGV: those of note.lua, then of the record that was read its `seq` and its instance; for how many seconds nothing
-- is to have been heard of that; the SHA-1 of the meta that was read, and how many bytes of it were at the most.

if redis.replicate_commands then redis.replicate_commands() end

local meta_bytes = tonumber(table.remove(ARGV))
local meta_digest = table.remove(ARGV)
local silent_seconds = tonumber(table.remove(ARGV))
local instance = table.remove(ARGV)
local seq = table.remove(ARGV)

local function has_moved_on()
  if redis.call('HGET', KEYS[1], 'seq') ~= seq then return true end
  local heard_at = redis.call('ZSCORE', KEYS[4], instance)
  if heard_at and tonumber(redis.call('TIME')[1]) - tonumber(heard_at) < silent_seconds then return true end
  if not KEYS[5] then return false end
  local meta = redis.pcall('GETRANGE', KEYS[5], 0, meta_bytes)
  -- A key of another type reads as none.
  return redis.sha1hex(type(meta) == 'string' and meta or '') ~= meta_digest
end

if has_moved_on() then return false end
