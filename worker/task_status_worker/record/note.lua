-- Advance one record by one note. The only writer of a record; codec.py gives KEYS and ARGV (note_call).
-- Runs on Redis 6.2 to 8 and Valkey. Returns {advanced, seq, cancel requested, final, terminate, refusal, time of the
-- note in ms}; codec.py reads it (unpack_answer).
--
-- Rule 1: a record only advances, by (generation, attempt, rank). Equal advances, so that a redelivered task may start again.
-- Rule 2: after a final fact nothing changes but the counters.
-- Rule 3: a note that does not advance still fills in what describes the task and is missing.
-- Rule 4: a run is counted once, however often its start is written.
-- Rule 5: REQUEUED goes back on purpose: the next RECEIVED and STARTED of the same attempt advance again.
-- Rule 6: who asks to start is refused if the task has ended, is canceled, or is another run's; then nothing is written
--         of the start. Who only tells of a start is never refused: it has happened.
-- Rule 7: a task is in the index once by state and once by name, from its first note until its record expires; one that
--         has an owner also in that owner's index, which is laid out the same.
-- Rule 8: nothing changes the owner: not another note, and not the end of the record, whose marker keeps it.

-- Redis before 7 replicates scripts as text unless told otherwise, and then refuses to write after TIME.
if redis.replicate_commands then redis.replicate_commands() end

local record, known, expiry = KEYS[1], KEYS[2], KEYS[3]
local fact, rank, is_final = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local generation, attempt, run = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local stamp, age_ms = ARGV[7], tonumber(ARGV[8])
local scheduled_ms, record_seconds, known_seconds = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local id, records, index = ARGV[12], ARGV[13], ARGV[14]
local asks, redelivered, delivery_limit = ARGV[15] == '1', ARGV[16] == '1', tonumber(ARGV[17])
local describes, first = tonumber(ARGV[18]), 19

local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now_ms = string.format('%.0f', seconds * 1000 + math.floor(tonumber(time[2]) / 1000) - age_ms)
-- What waits for its time is kept that much longer.
record_seconds = record_seconds + math.max(0, math.ceil(scheduled_ms / 1000) - seconds)

local old = redis.call(
  'HMGET', record, 'generation', 'attempt', 'rank', 'run', 'final', 'cancel_requested', 'seq', 'name', 'starts',
  'terminate', 'owner'
)
local is_new = not old[7]
local old_generation, old_attempt = tonumber(old[1] or 0), tonumber(old[2] or 0)
local old_rank, old_run, old_starts = tonumber(old[3] or -1), old[4] or '', tonumber(old[9] or 0)
local old_name, old_owner = old[8] or '', old[11] or ''
local was_final = old[5] == '1'
local canceled, terminate = old[6] == '1', old[10] == '1'
local is_same_run = run ~= '' and run == old_run
-- Whether the note is about an attempt before (below 0), that (0) or after the one of the record.
local ahead = generation ~= old_generation and generation - old_generation or attempt - old_attempt

local function refusal_of_start()
  if not asks then return '' end
  if was_final then return 'ENDED' end
  if canceled then return 'CANCELED' end
  if ahead > 0 or is_same_run then return '' end
  if ahead < 0 or old_rank > rank then return 'COPY' end
  if old_rank < rank then return '' end
  -- Another run has started this attempt. The broker delivers a message again that nobody has acknowledged.
  if not redelivered then return 'COPY' end
  return delivery_limit > 0 and old_starts >= delivery_limit and 'DELIVERY_LIMIT' or ''
end

local refusal = refusal_of_start()

local function advances()
  if was_final or refusal ~= '' then return false end
  if ahead ~= 0 then return ahead > 0 end
  if fact == '' then return true end
  if fact == 'REQUEUED' then return run == old_run or rank >= old_rank end
  if fact == 'STARTED' and is_same_run then return false end
  return rank >= old_rank
end

local advanced = advances()
local seq = redis.call('HINCRBY', record, 'seq', 1)

if fact == 'STARTED' and refusal == '' and not is_same_run then
  redis.call('HINCRBY', record, 'executions', 1)
end
if was_final and fact ~= '' then
  redis.call('HINCRBY', record, 'late', 1)
end
-- Also one that comes late: what it put back may have been received again by now.
if fact == 'REQUEUED' and not was_final then redis.call('HINCRBY', record, 'requeues', 1) end
if is_new then
  -- A key of another type says nothing.
  local owner = redis.pcall('GET', known)
  if type(owner) == 'string' and owner ~= '' then redis.call('HSET', record, 'owner', owner) end
end
if not was_final then
  for i = first, first + describes - 1, 2 do
    local is_news = redis.call('HSETNX', record, ARGV[i], ARGV[i + 1]) == 1
    if is_news and ARGV[i] == 'cancel_requested' then
      canceled = true
      -- Whichever attempt it was noted for.
      redis.call('HSET', record, 'updated_at', now_ms)
    end
    if is_news and ARGV[i] == 'terminate' then terminate = true end
  end
end

if advanced then
  local fields = {'updated_at', now_ms, 'generation', ARGV[4], 'attempt', ARGV[5]}
  local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if fact ~= '' then
    set('fact', fact); set('rank', ARGV[2]); set('final', is_final)
    if stamp ~= '' then set(stamp, now_ms) end
    if fact == 'REQUEUED' then set('starts', 0) end
    -- What the attempt before left behind does not hold for this one.
    redis.call('HDEL', record, 'next_retry_at')
    if fact == 'STARTED' then
      redis.call('HDEL', record, 'outcome', 'failure', 'progress', 'progress_at', 'instance')
      set('starts', ahead > 0 and 1 or old_starts + 1)
    end
  end
  if run ~= '' then set('run', run) end
  for i = first + describes, #ARGV, 2 do
    set(ARGV[i], ARGV[i + 1])
    if ARGV[i] == 'progress' then set('progress_at', now_ms) end
  end
  redis.call('HSET', record, unpack(fields))
end

local ttl = redis.call('TTL', record)
if ttl < record_seconds then redis.call('EXPIRE', record, record_seconds) end

-- What the record alone says of the state; the service decides by the table in precedence.py, which has the same rows.
local STATES = {
  'queued', 'running', 'retrying', 'canceling', 'succeeded', 'failed', 'canceled', 'expired', 'finished', 'unknown',
}
local OF_FACT = {
  SUBMITTED = 'queued', REQUEUED = 'queued', RECEIVED = 'queued', STARTED = 'running', RETRYING = 'retrying',
  REJECTED = 'failed', REVOKED = 'canceled', IGNORED = 'finished', FINISHED = 'finished',
}
local OF_OUTCOME = {SUCCESS = 'succeeded', FAILURE = 'failed', REVOKED = 'canceled'}

local function state_of(last, outcome, again, has_ended)
  if canceled and not has_ended then return 'canceling' end
  if not last then return (redis.call('HGET', record, 'progress') or 'null') ~= 'null' and 'running' or 'unknown' end
  if last == 'REVOKED' and outcome == 'EXPIRED' then return 'expired' end
  if last == 'RECEIVED' and tonumber(again or 0) > 0 then return 'retrying' end
  return OF_FACT[last] == 'finished' and OF_OUTCOME[outcome] or OF_FACT[last]
end

-- The index of all tasks, and that of the owner: what each key of them begins with.
local function indexes_of(owner)
  return owner == '' and {index} or {index, index .. 'owner:' .. owner .. ':'}
end

local function remove_states(base, of)
  for _, state in ipairs(STATES) do redis.call('ZREM', base .. 'state:' .. state, of) end
end

-- How many that have expired one note drops: more than one note makes, so the index never outgrows the records for long.
local EXPIRED_PER_NOTE = 5

local function drop_expired()
  local due = redis.call('ZRANGEBYSCORE', expiry, '-inf', '(' .. time[1], 'LIMIT', 0, EXPIRED_PER_NOTE)
  for _, member in ipairs(due) do
    local of, owner, name = string.match(member, '^(%Z*)%z(%Z*)%z(.*)$')
    local left = redis.call('TTL', records .. of)
    -- A key of another type must not stop the notes of other tasks.
    local found = redis.pcall('HMGET', records .. of, 'name', 'owner')
    local is_gone = left == -2 or found.err
    local is_its_name, is_its_owner = (found[1] or '') == name, (found[2] or '') == owner
    if not is_gone and is_its_name and is_its_owner then
      -- It has been written since: cheaper to find out here, once, than to move it with each note.
      redis.call('ZADD', expiry, seconds + 1 + (left < 0 and record_seconds or left), member)
    else
      redis.call('ZREM', expiry, member)
      -- The id may have come back under another name, or owner; that has a member of its own.
      for _, base in ipairs(indexes_of(owner)) do
        local is_left = is_gone or (base ~= index and not is_its_owner)
        if name ~= '' and (is_left or not is_its_name) then redis.call('ZREM', base .. 'name:' .. name, of) end
        if is_left then remove_states(base, of) end
      end
    end
  end
end

local is = redis.call(
  'HMGET', record, 'fact', 'outcome', 'attempt', 'final', 'name', 'indexed_as', 'indexed_at', 'owner'
)
local state, name, owner = state_of(is[1], is[2], is[3], is[4] == '1'), is[5] or '', is[8] or ''
local indexed_as, indexed_at = is[6], is[7] or now_ms
local is_unindexed = not is[7]
local is_moved = state ~= indexed_as
local is_named = is_unindexed or name ~= old_name or owner ~= old_owner
for _, base in ipairs(indexes_of(owner)) do
  -- A record of the same id may have expired and still be in the index.
  if is_unindexed then remove_states(base, id) end
  if is_moved and indexed_as then redis.call('ZREM', base .. 'state:' .. indexed_as, id) end
  if is_moved or is_named then redis.call('ZADD', base .. 'state:' .. state, indexed_at, id) end
  if is_named and name ~= '' then redis.call('ZADD', base .. 'name:' .. name, indexed_at, id) end
end
if is_unindexed then redis.call('HSET', record, 'indexed_at', indexed_at) end
if is_moved then redis.call('HSET', record, 'indexed_as', state) end
if is_named then
  redis.call('ZREM', expiry, id .. '\0' .. old_owner .. '\0' .. old_name)
  redis.call('ZADD', expiry, seconds + math.max(ttl, record_seconds), id .. '\0' .. owner .. '\0' .. name)
end
drop_expired()

if is_new or owner ~= old_owner or (advanced and is_final == '1') then
  redis.call('SET', known, owner, 'EX', record_seconds + known_seconds)
end
redis.call('PUBLISH', record, seq .. ':' .. fact)
local final = was_final or (advanced and is_final == '1')
return {
  advanced and 1 or 0, seq, canceled and 1 or 0, final and 1 or 0, terminate and 1 or 0, refusal, tonumber(now_ms),
}
