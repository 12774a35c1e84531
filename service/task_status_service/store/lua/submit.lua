-- Prelude of note.lua: accept a submission. Claims its Idempotency-Key and stores its call; note.lua follows in the
-- same script and writes the record, all or nothing.
-- Returns the answer of note.lua; or, if nothing is written, {'full'} if the owner has too many queued tasks,
-- {'claimed', 1 if the fingerprint is the same, answer or ''} if the key belongs to an earlier request, or
-- {'interrupted', task id} if that request's lease has expired: then this request holds the claim and continues.
-- The limit does not apply to a submission that is already recorded: it is only written again.
-- KEYS: those of note.lua, the call, the owner's queued tasks, the owner's canceling tasks, and the claim, if any.
-- ARGV: JSON (submissions.py, SubmitHead); the call; then those of note.lua.

-- Redis before 7 replicates scripts as text by default, and then denies writes after TIME.
if redis.replicate_commands then redis.replicate_commands() end

-- Limit of the members of expired records that one submission removes to make room; notes remove the others.
local FREED = 10

local function is_full(queued, canceling, limit, record, records)
  -- The message of a canceling task is still in the queue.
  local function count()
    local waiting, ending = redis.pcall('ZCARD', queued), redis.pcall('ZCARD', canceling)
    -- A key of another type holds no task; note.lua replaces it.
    return (type(waiting) == 'number' and waiting or 0) + (type(ending) == 'number' and ending or 0)
  end
  if limit == 0 or count() < limit or redis.call('EXISTS', record) == 1 then return false end
  for _, key in ipairs({queued, canceling}) do
    for _, of in ipairs(redis.pcall('ZRANGE', key, 0, FREED - 1)) do
      if redis.call('EXISTS', records .. of) == 0 then redis.call('ZREM', key, of) end
    end
  end
  return count() >= limit
end

do
  -- Removed from ARGV: note.lua reads the rest.
  local head, call = cjson.decode(table.remove(ARGV, 1)), table.remove(ARGV, 1)
  local call_key, queued, canceling, claim = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
  local time = redis.call('TIME')
  local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local until_ms = string.format('%.0f', now_ms + head.lease_seconds * 1000)
  if claim then
    local old = redis.call('HMGET', claim, 'task', 'fingerprint', 'until', 'answer')
    if old[1] then
      local is_same = old[2] == head.fingerprint
      if not is_same or old[4] or tonumber(old[3]) > now_ms then
        return {'claimed', is_same and 1 or 0, old[4] or ''}
      end
      redis.call('HSET', claim, 'holder', head.holder, 'until', until_ms)
      return {'interrupted', old[1]}
    end
  end
  if is_full(queued, canceling, head.queued_limit, KEYS[1], head.records) then return {'full'} end
  if claim then
    redis.call('HSET', claim, 'task', head.holder, 'fingerprint', head.fingerprint, 'holder', head.holder,
      'until', until_ms)
    redis.call('EXPIRE', claim, head.claim_seconds)
  end
  redis.call('SET', call_key, call, 'EX', head.call_seconds)
end
