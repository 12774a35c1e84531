-- Read the last heartbeats of worker instances, within bounds. Writes nothing.
-- KEYS: the sorted set of worker instances by their last heartbeat.
-- ARGV: JSON (heartbeats.py, HeartbeatsHead), and names of instances that are read in any case.
-- Returns the newest heartbeat of all or false, whether there are more instances (0 or 1), and names with their scores,
-- which are -inf for a requested instance without a heartbeat.

local head = cjson.decode(ARGV[1])
-- A name has no bound in Redis, so few of them are in memory at once.
local STEP = 50

-- Later heartbeats are skipped: infinite scores, and those from before the clock was set back by more than a day.
local newest_time = redis.call('TIME')[1] + 86400
local newest = redis.call('ZREVRANGEBYSCORE', KEYS[1], newest_time, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or false
local answer = {newest, 0}
local seen, found = 0, {}
while seen < head.limit do
  local members = redis.call('ZREVRANGEBYSCORE', KEYS[1], newest_time, head.since, 'WITHSCORES', 'LIMIT', seen, STEP)
  for i = 1, #members, 2 do
    if #members[i] <= head.name_bytes then
      found[members[i]] = true
      answer[#answer + 1] = members[i]
      answer[#answer + 1] = members[i + 1]
    end
  end
  seen = seen + STEP
  if #members < 2 * STEP then break end
  if seen >= head.limit then answer[2] = 1 end
end
for i = 2, #ARGV do
  if not found[ARGV[i]] then
    answer[#answer + 1] = ARGV[i]
    answer[#answer + 1] = redis.call('ZSCORE', KEYS[1], ARGV[i]) or '-inf'
  end
end
return answer
