-- Functions that note.lua and the scripts of the service share. codec.py joins them into one script.
-- Each name such as F.owner stands for the stored name of that field: codec.py replaces it (FIELDS), because Redis
-- keeps every name in every record. RANKS stands for the table of the same name in model.py.
--
-- Rule A: a key of another type under a name of ours cannot hold data of ours. It is deleted, later notes write it anew,
--         and names.repairs keeps its name and type for the operator. One such key must not stop the other tasks.
-- Rule B: a stored number that is unreadable reads as missing.
-- Rule C: a task expires at its valid_until. Its record then becomes a tombstone: the owner, and 0 as valid_until.
--         The key lives longer than the tombstone by SPARE_SECONDS, in which its members are removed from the index.

-- Redis before 7 replicates scripts as text by default, and then denies writes after TIME.
if redis.replicate_commands then redis.replicate_commands() end

local SPARE_SECONDS = 3600
-- Limit of the entries of names.repairs, and their TTL.
local MAX_REPAIRS, REPAIR_SECONDS = 20, 86400
-- An expired slot of the expiry index that nothing reads is kept for this time.
local SLOT_SECONDS = 30 * 86400
local STATES = {
  'queued', 'running', 'retrying', 'canceling', 'succeeded', 'failed', 'canceled', 'expired', 'finished', 'unknown',
}
local IS_STATE = {}
for _, state in ipairs(STATES) do IS_STATE[state] = true end

local time = redis.call('TIME')
local seconds = tonumber(time[1])

-- Set by each script: the parts of keys (keys.py, KeyNames), the index by expiry, the set of all index keys, and how
-- long a record is kept.
local names, expiry, index_keys, retention

-- At most 15 characters: a larger integer is not exact in Lua. `tonumber` alone also reads "nan", "inf" and "0x1".
local function number(packed)
  return packed and #packed <= 15 and string.find(packed, '^%-?%d+$') and tonumber(packed) or nil
end

local function is_wrong_type(answer)
  return type(answer) == 'table' and answer.err and string.find(answer.err, 'WRONGTYPE', 1, true)
end

local function repair(key)
  local kind = redis.call('TYPE', key).ok
  redis.call('UNLINK', key)
  if is_wrong_type(redis.pcall('HLEN', names.repairs)) then redis.call('UNLINK', names.repairs) end
  if redis.call('HLEN', names.repairs) < MAX_REPAIRS or redis.call('HEXISTS', names.repairs, key) == 1 then
    redis.call('HSET', names.repairs, key, kind)
  end
  redis.call('EXPIRE', names.repairs, REPAIR_SECONDS)
end

-- Run a command on a key of ours, by rule A.
local function on(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if is_wrong_type(answer) then repair(key) end
  -- Any other error is raised by the same command again, in the format of this version of Redis.
  return redis.call(command, key, ...)
end

-- As OWNER_NAME in api_keys.py. Without it, an owner in a forged record could name a key outside of its index.
local function is_owner(text) return #text <= 64 and string.find(text, '^[A-Za-z0-9][A-Za-z0-9._%-]*$') end

-- The index of all tasks and the owner's index; each is the prefix of its keys.
local function bases_of(owner)
  return is_owner(owner or '') and {names.index, names.owner .. owner .. names.owner_end} or {names.index}
end

local function by_state(base, state) return base .. names.state .. state end
local function by_name(base, name) return base .. names.name .. name end
local function by_label(base, digest) return base .. names.label .. digest end
-- A name in a message of Celery may be any text. A task with another name is in no list by name: 1,024 bytes hold the
-- 256 characters of a name in a request.
local function has_name(name) return (name or '') ~= '' and #name <= 1024 and not string.find(name, '%c') end

-- The digests of the labels of a record, as keys.py computes them. A retry adds one label to the 16 of a submission.
local MAX_LABELS, MAX_LABELS_BYTES = 32, 16384

local function digests_of(record)
  if redis.call('HSTRLEN', record, F.labels) > MAX_LABELS_BYTES then return {} end
  local is_json, labels = pcall(cjson.decode, redis.call('HGET', record, F.labels) or '{}')
  local digests = {}
  if not is_json or type(labels) ~= 'table' then return digests end
  for name, text in pairs(labels) do
    if type(name) ~= 'string' or type(text) ~= 'string' or #digests == MAX_LABELS then return {} end
    digests[#digests + 1] = redis.sha1hex(name .. '\0' .. text)
  end
  return digests
end

local function add_to(key, id, score)
  on('ZADD', key, score, id)
  on('ZADD', index_keys, 0, key)
end

-- A label may be of one task only, so its key is not in the set of all keys: it has a TTL instead.
local function add_to_labels(record, owner, id, score, keep_seconds)
  local digests = digests_of(record)
  for _, base in ipairs(bases_of(owner)) do
    for _, digest in ipairs(digests) do
      local key = by_label(base, digest)
      on('ZADD', key, score, id)
      if redis.call('TTL', key) < keep_seconds then
        redis.call('EXPIRE', key, string.format('%.0f', keep_seconds))
      end
    end
  end
end

local function remove_states(base, id)
  for _, state in ipairs(STATES) do on('ZREM', by_state(base, state), id) end
end

-- Remove a task from the index, at the places in its record, which must still be there.
local function remove_from_index(id, state, name, owner)
  state = state or 'queued'
  local digests = digests_of(names.records .. id)
  for _, base in ipairs(bases_of(owner)) do
    if IS_STATE[state] then on('ZREM', by_state(base, state), id) else remove_states(base, id) end
    if has_name(name) then on('ZREM', by_name(base, name), id) end
    for _, digest in ipairs(digests) do on('ZREM', by_label(base, digest), id) end
  end
end

-- Return whether a task is at a place of the index according to its record.
local function is_at(key, state, name, owner)
  for _, base in ipairs(bases_of(owner)) do
    if key == by_state(base, state or 'queued') or key == by_name(base, name or '') then return true end
  end
  return false
end

-- The counter of the bytes that the records of an owner are charged with (docs/decisions/0042-stored-bytes.md).
local function stored_bytes(owner)
  return math.max(0, number(on('GET', names.stored .. owner) or nil) or 0)
end

local function set_stored_bytes(owner, bytes)
  -- Not INCRBY, which fails if the value is no number.
  if bytes <= 0 then return redis.call('UNLINK', names.stored .. owner) end
  redis.call('SET', names.stored .. owner, string.format('%.0f', bytes), 'KEEPTTL')
end

-- A charge is the bytes for the record, for the message and for the call. An unreadable charge counts as 0.
local function parts_of(charged)
  local record, message, call = string.match(charged or '', '^(%d+),(%d+),(%d+)$')
  return number(record) or 0, number(message) or 0, number(call) or 0
end

-- Subtract bytes from the counter of an owner.
local function release(owner, bytes)
  if bytes > 0 and is_owner(owner or '') then set_stored_bytes(owner, stored_bytes(owner) - bytes) end
end

local function release_all(owner, charged)
  local record, message, call = parts_of(charged)
  release(owner, record + message + call)
end

-- The index by expiry is a sorted set of slots, and a list of ids for each slot. A list takes a third of the memory of
-- a sorted set. A slot is the end of a span of a ten-thousandth of the retention: at most a minute for a week.
local function add_to_expiry(id, valid_until)
  local span = math.max(1, math.floor(retention.record_seconds / 10000))
  local slot = string.format('%.0f', math.ceil(valid_until / span) * span)
  local key = expiry .. ':' .. slot
  if on('RPUSH', key, id) == 1 then
    redis.call('EXPIRE', key, string.format('%.0f', math.max(0, valid_until - seconds) + SLOT_SECONDS))
  end
  on('ZADD', expiry, slot, slot)
end

local function write_tombstone(record, owner)
  local left_ms = redis.call('PTTL', record)
  left_ms = left_ms < 0 and retention.known_seconds * 1000 or left_ms - SPARE_SECONDS * 1000
  redis.call('UNLINK', record)
  if left_ms <= 0 then return end
  redis.call('HSET', record, F.valid_until, 0)
  if (owner or '') ~= '' then redis.call('HSET', record, F.owner, owner) end
  redis.call('PEXPIRE', record, string.format('%.0f', left_ms))
end

-- Delete the call of a task that ended long enough ago, if its owner is charged for it; return whether it was deleted.
local function drop_call(id, record, owner, charged, final, finished_at, arguments_seconds)
  local for_record, for_message, for_call = parts_of(charged)
  local ended = final == '1' and number(finished_at)
  if not ended or for_call == 0 then return false end
  if math.floor(ended / 1000) + (number(arguments_seconds) or 0) > seconds then return false end
  release(owner, for_call)
  redis.call('HSET', record, F.charged, for_record .. ',' .. for_message .. ',0')
  redis.call('HDEL', record, F.call)
  redis.call('UNLINK', names.calls .. id)
  return true
end

-- Turn the record of a task into its tombstone if it has expired; else schedule the next look at it.
local function expire(id)
  local record = names.records .. id
  local is = redis.pcall('HMGET', record, F.valid_until, F.seq, F.indexed_as, F.name, F.owner, F.charged, F.final,
    F.finished_at, F.arguments_seconds)
  -- A key of another type is left to the next note. A tombstone, or nothing, has no `seq`.
  if is.err or not is[2] then return end
  local valid_until = number(is[1])
  if not valid_until then
    valid_until = seconds + retention.record_seconds
    redis.call('HSET', record, F.valid_until, string.format('%.0f', valid_until))
  end
  if valid_until > seconds then
    -- A task that is charged for its call after its end has a second entry, at the end of its call.
    if drop_call(id, record, is[5], is[6], is[7], is[8], is[9]) then return end
    return add_to_expiry(id, valid_until)
  end
  release_all(is[5], is[6])
  remove_from_index(id, is[3], is[4], is[5])
  write_tombstone(record, is[5])
end

-- Look at up to `limit` tasks that are due in the index by expiry; return how many were due.
local function expire_due(limit)
  for count = 0, limit - 1 do
    local slot = on('ZRANGEBYSCORE', expiry, '-inf', time[1], 'LIMIT', 0, 1)[1]
    if not slot then return count end
    local id = on('LPOP', expiry .. ':' .. slot)
    if id then expire(id) else on('ZREM', expiry, slot) end
  end
  return limit
end
