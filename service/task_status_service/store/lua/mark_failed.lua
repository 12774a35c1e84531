-- Prelude of note.lua, after shared.lua: record a lost execution as failed, unless the task has changed since it was read as lost.
-- Returns false after a change: another note, another meta of Celery's, or a heartbeat. A client must never receive a
-- final state that another final state replaces later.
-- KEYS: those of note.lua, the workers, and Celery's meta if the same Redis holds it.
-- ARGV: JSON (script_heads.py, MarkFailedHead); `seq` and instance of the record that was read; then those of note.lua.

local function has_moved_on()
  -- Removed from ARGV: note.lua follows in the same script and reads the rest.
  local head = cjson.decode(table.remove(ARGV, 1))
  local seq, instance = table.remove(ARGV, 1), table.remove(ARGV, 1)
  -- A key of another type holds no record, and no heartbeats.
  local is = redis.pcall('HMGET', KEYS[1], F.seq, F.valid_until)
  if is[1] ~= seq or (number(is[2]) or seconds + 1) <= seconds then return true end
  local beat_at = redis.pcall('ZSCORE', KEYS[4], instance)
  if type(beat_at) == 'string' and seconds - tonumber(beat_at) < head.lost_after_seconds then return true end
  if not KEYS[5] then return false end
  local meta = redis.pcall('GETRANGE', KEYS[5], 0, head.meta_bytes)
  -- A key of another type reads as no meta.
  return redis.sha1hex(type(meta) == 'string' and meta or '') ~= head.meta_sha1
end

if has_moved_on() then return false end
