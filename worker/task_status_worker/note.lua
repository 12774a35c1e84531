-- Advance one record by one note. The only writer of a record; record.py gives KEYS and ARGV (note_call).
-- Runs on Redis 6.2 to 8 and Valkey. Returns {advanced, seq, cancel requested, final, time of the note in ms}.
--
-- Rule 1: a record only advances, by (generation, attempt, rank). Equal advances, so that a redelivered task may start again.
-- Rule 2: after a final fact nothing changes but the counters.
-- Rule 3: a note that does not advance still fills in what describes the task and is missing.
-- Rule 4: a run is counted once, however often its start is written.
-- Rule 5: REQUEUED goes back on purpose: the next RECEIVED and STARTED of the same attempt advance again.

-- Redis before 7 replicates scripts as text unless told otherwise, and then refuses to write after TIME.
if redis.replicate_commands then redis.replicate_commands() end

local record, known = KEYS[1], KEYS[2]
local fact, rank, is_final = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local generation, attempt, run = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local stamp, age_ms = ARGV[7], tonumber(ARGV[8])
local scheduled_ms, record_seconds, known_seconds = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local describes, first = tonumber(ARGV[12]), 13

local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now_ms = string.format('%.0f', seconds * 1000 + math.floor(tonumber(time[2]) / 1000) - age_ms)
-- What waits for its time is kept that much longer.
record_seconds = record_seconds + math.max(0, math.ceil(scheduled_ms / 1000) - seconds)

local old = redis.call('HMGET', record, 'generation', 'attempt', 'rank', 'run', 'final', 'cancel_requested', 'seq')
local is_new = not old[7]
local old_generation, old_attempt = tonumber(old[1] or 0), tonumber(old[2] or 0)
local old_rank, old_run = tonumber(old[3] or -1), old[4] or ''
local was_final, canceled = old[5] == '1', old[6] == '1' and 1 or 0

local function advances()
  if was_final then return false end
  if generation ~= old_generation then return generation > old_generation end
  if attempt ~= old_attempt then return attempt > old_attempt end
  if fact == '' then return true end
  if fact == 'REQUEUED' then return run == old_run or rank >= old_rank end
  if fact == 'STARTED' and run ~= '' and run == old_run then return false end
  return rank >= old_rank
end

local advanced = advances()
local seq = redis.call('HINCRBY', record, 'seq', 1)

if fact == 'STARTED' and (run == '' or run ~= old_run) then
  redis.call('HINCRBY', record, 'executions', 1)
end
if was_final and fact ~= '' then
  redis.call('HINCRBY', record, 'late', 1)
end
if not was_final then
  for i = first, first + describes - 1, 2 do
    redis.call('HSETNX', record, ARGV[i], ARGV[i + 1])
  end
end

if advanced then
  local fields = {'updated_at', now_ms, 'generation', ARGV[4], 'attempt', ARGV[5]}
  local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if fact ~= '' then
    set('fact', fact); set('rank', ARGV[2]); set('final', is_final)
    if stamp ~= '' then set(stamp, now_ms) end
    if fact == 'REQUEUED' then redis.call('HINCRBY', record, 'requeues', 1) end
    -- What the attempt before left behind does not hold for this one.
    redis.call('HDEL', record, 'next_retry_at')
    if fact == 'STARTED' then redis.call('HDEL', record, 'outcome', 'failure', 'progress', 'progress_at') end
  end
  if run ~= '' then set('run', run) end
  for i = first + describes, #ARGV, 2 do
    set(ARGV[i], ARGV[i + 1])
    if ARGV[i] == 'progress' then set('progress_at', now_ms) end
  end
  redis.call('HSET', record, unpack(fields))
end

if redis.call('TTL', record) < record_seconds then redis.call('EXPIRE', record, record_seconds) end
if is_new or (advanced and is_final == '1') then redis.call('SET', known, '', 'EX', record_seconds + known_seconds) end
redis.call('PUBLISH', record, seq .. ':' .. fact)
return {advanced and 1 or 0, seq, canceled, (was_final or (advanced and is_final == '1')) and 1 or 0, tonumber(now_ms)}
