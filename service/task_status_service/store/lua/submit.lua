-- Accept a submission: claim its key, keep its call, record it; all or nothing. The prelude of note.lua, which does the
-- recording and follows in the same script.
-- Returns what note.lua returns; or, where nothing is written: {'interrupted', task id} if the key is now this request's
-- to go on with, {'claimed', 1 if the fingerprint is the same, answer or ''} if it is an earlier one's, {'full'} if as
-- many tasks are queued as may be. What was recorded before is never too much: it is only written again.
-- KEYS: note.lua's, the call, the queued and the canceling tasks that are counted, then the claim if there is one. ARGV: note.lua's, then those that are taken off here.

-- Redis before 7 replicates scripts as text unless told otherwise, and then refuses to write after TIME.
if redis.replicate_commands then redis.replicate_commands() end

-- How many places of records that have expired one submission frees where there is no other: notes free them too.
local FREED = 10

local function is_full(queued, canceling, limit, record, records)
  -- One that is to be canceled still has its message in the queue.
  local function count() return redis.call('ZCARD', queued) + redis.call('ZCARD', canceling) end
  if limit == 0 or count() < limit or redis.call('EXISTS', record) == 1 then return false end
  for _, key in ipairs({queued, canceling}) do
    for _, of in ipairs(redis.call('ZRANGE', key, 0, FREED - 1)) do
      if redis.call('EXISTS', records .. of) == 0 then redis.call('ZREM', key, of) end
    end
  end
  return count() >= limit
end

do
  local holder, call, call_seconds = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
  local fingerprint, lease_seconds, claim_seconds = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
  local queued_limit, records = tonumber(table.remove(ARGV)), table.remove(ARGV)
  local call_key, queued, canceling, claim = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
  local time = redis.call('TIME')
  local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local until_ms = string.format('%.0f', now_ms + tonumber(lease_seconds) * 1000)
  if claim then
    local old = redis.call('HMGET', claim, 'task', 'fingerprint', 'until', 'answer')
    if old[1] then
      local is_same = old[2] == fingerprint
      if not is_same or old[4] or tonumber(old[3]) > now_ms then
        return {'claimed', is_same and 1 or 0, old[4] or ''}
      end
      redis.call('HSET', claim, 'holder', holder, 'until', until_ms)
      return {'interrupted', old[1]}
    end
  end
  if is_full(queued, canceling, queued_limit, KEYS[1], records) then return {'full'} end
  if claim then
    redis.call('HSET', claim, 'task', holder, 'fingerprint', fingerprint, 'holder', holder, 'until', until_ms)
    redis.call('EXPIRE', claim, claim_seconds)
  end
  redis.call('SET', call_key, call, 'EX', call_seconds)
end
