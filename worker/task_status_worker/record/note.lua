-- Advance one record by one note. The only writer of a record.
-- Runs on Redis 6.2 to 8 and Valkey.
-- KEYS (codec.py, note_call): the record, the marker of a known task, the index by expiry.
-- ARGV[1]: the note's head, a JSON object (codec.py, NoteHead). Then names and values of fields, in turn: the first
-- 2 * head.describes_count describe the task, the rest hold for its present attempt. JSON cannot carry these values: they
-- may be any bytes.
-- Returns {advanced, seq, cancel requested, final, terminate, why the start is denied or '', time of the note in ms}
-- (codec.py, unpack_answer).
--
-- JSON rather than MessagePack, because MONITOR and SLOWLOG show it, and MessagePack saves only 1 µs of 4. Measured with
-- Redis 6.2: a note of this convention takes one client 147 µs, as one of positional arguments did.
--
-- Rule 1: a record only advances, by (generation, attempt, rank). An equal place advances too, so that a redelivered task
--         can start again.
-- Rule 2: after a final fact nothing changes but the counters.
-- Rule 3: a note that does not advance the record still fills in missing descriptions of the task.
-- Rule 4: an execution is counted once, however often its start is written.
-- Rule 5: REQUEUED moves a record back on purpose: the next RECEIVED and STARTED of the same attempt advance it again.
-- Rule 6: a start that asks for permission is denied if the task has ended, is canceled, or belongs to another execution;
--         a denied start is not written. A start that only reports is never denied: it has already happened.
-- Rule 7: a task is in the index once by state and once by name, from its first note until its record expires. A task
--         with an owner is also in that owner's index, which has the same layout.
-- Rule 8: the owner never changes: neither by another note, nor when the record expires, because its marker keeps it.

-- Redis before 7 replicates scripts as text by default, and then denies writes after TIME.
if redis.replicate_commands then redis.replicate_commands() end

local record, known, expiry = KEYS[1], KEYS[2], KEYS[3]
local head = cjson.decode(ARGV[1])
local first, end_of_describes = 2, 1 + 2 * head.describes_count
local id, names = head.id, head.names
local fact, rank, is_final, run = head.fact, head.rank, head.is_final, head.run
local generation, attempt = head.generation, head.attempt
local start = head.start

local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now_ms = string.format('%.0f', seconds * 1000 + math.floor(tonumber(time[2]) / 1000) - head.age_ms)
-- The record of a scheduled task is kept longer by the time until it is due.
local record_seconds = head.record_seconds + math.max(0, math.ceil(head.scheduled_ms / 1000) - seconds)

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
-- Below 0: the note is about an earlier attempt than the record's. 0: about the same one. Above 0: about a later one.
local ahead = generation ~= old_generation and generation - old_generation or attempt - old_attempt

local function denial_of_start()
  if not start then return '' end
  if was_final then return 'ENDED' end
  if canceled then return 'CANCELED' end
  if ahead > 0 or is_same_run then return '' end
  if ahead < 0 or old_rank > rank then return 'DUPLICATE' end
  if old_rank < rank then return '' end
  -- Another execution has started this attempt. The broker redelivers a message that was not acknowledged.
  if not start.redelivered then return 'DUPLICATE' end
  return start.delivery_limit > 0 and old_starts >= start.delivery_limit and 'DELIVERY_LIMIT' or ''
end

local denial = denial_of_start()

local function advances()
  if was_final or denial ~= '' then return false end
  if ahead ~= 0 then return ahead > 0 end
  if fact == '' then return true end
  if fact == 'REQUEUED' then return run == old_run or rank >= old_rank end
  if fact == 'STARTED' and is_same_run then return false end
  return rank >= old_rank
end

local advanced = advances()
local seq = redis.call('HINCRBY', record, 'seq', 1)

if fact == 'STARTED' and denial == '' and not is_same_run then
  redis.call('HINCRBY', record, 'executions', 1)
end
if was_final and fact ~= '' then
  redis.call('HINCRBY', record, 'late', 1)
end
-- A late REQUEUED counts too: a worker may have received the message again by now.
if fact == 'REQUEUED' and not was_final then redis.call('HINCRBY', record, 'requeues', 1) end
if is_new then
  -- A key of another type names no owner.
  local owner = redis.pcall('GET', known)
  if type(owner) == 'string' and owner ~= '' then redis.call('HSET', record, 'owner', owner) end
end
if not was_final then
  for i = first, end_of_describes, 2 do
    local is_added = redis.call('HSETNX', record, ARGV[i], ARGV[i + 1]) == 1
    if is_added and ARGV[i] == 'cancel_requested' then
      canceled = true
      -- A cancel holds for every attempt, so it changes the record without advancing it.
      redis.call('HSET', record, 'updated_at', now_ms)
    end
    if is_added and ARGV[i] == 'terminate' then terminate = true end
  end
end

if advanced then
  local fields = {'updated_at', now_ms, 'generation', generation, 'attempt', attempt}
  local function set(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if fact ~= '' then
    set('fact', fact); set('rank', rank); set('final', is_final and '1' or '0')
    if head.stamp ~= '' then set(head.stamp, now_ms) end
    if fact == 'REQUEUED' then set('starts', 0) end
    -- These fields describe the previous execution only.
    if fact == 'STARTED' then
      redis.call('HDEL', record, 'next_retry_at', 'outcome', 'failure', 'progress', 'progress_at', 'instance')
      set('starts', ahead > 0 and 1 or old_starts + 1)
    else
      redis.call('HDEL', record, 'next_retry_at')
    end
  end
  if run ~= '' then set('run', run) end
  for i = end_of_describes + 1, #ARGV, 2 do
    set(ARGV[i], ARGV[i + 1])
    if ARGV[i] == 'progress' then set('progress_at', now_ms) end
  end
  redis.call('HSET', record, unpack(fields))
end

local ttl = redis.call('TTL', record)
if ttl < record_seconds then redis.call('EXPIRE', record, record_seconds) end

-- The state by the record alone. The service decides by the table in precedence.py, which has the same rows.
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

-- The index of all tasks and the owner's index; each is the prefix of its keys.
local function indexes_of(owner)
  return owner == '' and {names.index} or {names.index, names.owner .. owner .. names.owner_end}
end

local function by_state(base, state) return base .. names.state .. state end
local function by_name(base, name) return base .. names.name .. name end

local function remove_states(base, of)
  for _, state in ipairs(STATES) do redis.call('ZREM', by_state(base, state), of) end
end

-- Expired tasks that one note drops from the index. More than a note adds, so that the index never outgrows the records
-- for long.
local EXPIRED_PER_NOTE = 5

local function drop_expired()
  local due = redis.call('ZRANGEBYSCORE', expiry, '-inf', '(' .. time[1], 'LIMIT', 0, EXPIRED_PER_NOTE)
  for _, member in ipairs(due) do
    local of, owner, name = string.match(member, '^(%Z*)%z(%Z*)%z(.*)$')
    local left = redis.call('TTL', names.records .. of)
    -- A key of another type must not stop the notes of other tasks.
    local found = redis.pcall('HMGET', names.records .. of, 'name', 'owner')
    local is_gone = left == -2 or found.err
    local is_its_name, is_its_owner = (found[1] or '') == name, (found[2] or '') == owner
    if not is_gone and is_its_name and is_its_owner then
      -- The record was written since and lives longer. Moving its member here, once, is cheaper than with each note.
      redis.call('ZADD', expiry, seconds + 1 + (left < 0 and record_seconds or left), member)
    else
      redis.call('ZREM', expiry, member)
      -- The id may be in use again with another name or owner, which has its own member.
      for _, base in ipairs(indexes_of(owner)) do
        local is_left = is_gone or (base ~= names.index and not is_its_owner)
        if name ~= '' and (is_left or not is_its_name) then redis.call('ZREM', by_name(base, name), of) end
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
  -- An expired record of the same id may still be in the index.
  if is_unindexed then remove_states(base, id) end
  if is_moved and indexed_as then redis.call('ZREM', by_state(base, indexed_as), id) end
  if is_moved or is_named then redis.call('ZADD', by_state(base, state), indexed_at, id) end
  if is_named and name ~= '' then redis.call('ZADD', by_name(base, name), indexed_at, id) end
end
if is_unindexed or is_moved then redis.call('HSET', record, 'indexed_at', indexed_at, 'indexed_as', state) end
if is_named then
  redis.call('ZREM', expiry, id .. '\0' .. old_owner .. '\0' .. old_name)
  redis.call('ZADD', expiry, seconds + math.max(ttl, record_seconds), id .. '\0' .. owner .. '\0' .. name)
end
drop_expired()

if is_new or owner ~= old_owner or (advanced and is_final) then
  redis.call('SET', known, owner, 'EX', record_seconds + head.known_seconds)
end
redis.call('PUBLISH', record, seq .. ':' .. fact)
local final = was_final or (advanced and is_final)
return {
  advanced and 1 or 0, seq, canceled and 1 or 0, final and 1 or 0, terminate and 1 or 0, denial, tonumber(now_ms),
}
