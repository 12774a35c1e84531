-- Accept a submission: claim its key, keep its call, record it; all or nothing. The prelude of note.lua, which does the
-- recording and follows in the same script.
-- Returns what note.lua returns; or, where nothing is written: {'interrupted', task id} if the key is now this request's
-- to go on with, {'claimed', 1 if the fingerprint is the same, answer or ''} if it is an earlier one's.
-- KEYS: note.lua's, the call, then the claim if there is one. ARGV: note.lua's, then those that are taken off here.

-- Redis before 7 replicates scripts as text unless told otherwise, and then refuses to write after TIME.
if redis.replicate_commands then redis.replicate_commands() end

do
  local holder, call, call_seconds = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
  local fingerprint, lease_seconds, claim_seconds = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
  local call_key, claim = KEYS[4], KEYS[5]
  if claim then
    local time = redis.call('TIME')
    local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    local until_ms = string.format('%.0f', now_ms + tonumber(lease_seconds) * 1000)
    local old = redis.call('HMGET', claim, 'task', 'fingerprint', 'until', 'answer')
    if old[1] then
      local is_same = old[2] == fingerprint
      if not is_same or old[4] or tonumber(old[3]) > now_ms then
        return {'claimed', is_same and 1 or 0, old[4] or ''}
      end
      redis.call('HSET', claim, 'holder', holder, 'until', until_ms)
      return {'interrupted', old[1]}
    end
    redis.call('HSET', claim, 'task', holder, 'fingerprint', fingerprint, 'holder', holder, 'until', until_ms)
    redis.call('EXPIRE', claim, claim_seconds)
  end
  redis.call('SET', call_key, call, 'EX', call_seconds)
end
