-- Prelude of note.lua, after shared.lua: accept a submission. Claims its Idempotency-Key, stores its call and charges its
-- owner; note.lua follows in the same script and writes the record, all or nothing.
-- Returns the answer of note.lua; or, if nothing is written, {'full'} if the owner has too many queued tasks,
-- {'over quota', bytes} if the owner has too many stored bytes,
-- {'claimed', fields of the claim} if the key belongs to an earlier request, {'interrupted', task id} if that request's
-- lease has expired: then this request holds the claim and continues, or {'recorded', time in ms} if this request itself
-- has written the record: redis-py sends a script again if it does not receive the answer in time.
-- The limits do not apply to a submission that is already recorded: it is only written again.
-- KEYS: those of note.lua, the call, the owner's queued tasks, the owner's canceling tasks, and the claim, if any.
-- ARGV: JSON (submissions.py, SubmitHead); the fingerprint; the call, or '' if the record contains it; then those of
-- note.lua.
--
-- Fields of a claim, each of at most 64 bytes, so that Redis stores the hash as one listpack: `t` the task, `f` the
-- fingerprint, and `0`, `1` and so on the parts of the answer. While a request holds the lease: `u` its end in
-- milliseconds, and `h` the holder if it is not the task.

-- Limit of the members of expired records that one submission removes to make room; notes remove the others.
local FREED = 10

-- Return whether a task is recorded and has not expired; and its owner, which its tombstone keeps.
local function is_recorded(record)
  local is = redis.pcall('HMGET', record, F.seq, F.valid_until, F.owner)
  if is.err then return false end
  return is[1] and (number(is[2]) or seconds + 1) > seconds, is[3]
end

local function is_full(queued, canceling, limit)
  -- The message of a canceling task is still in the queue.
  local function count() return on('ZCARD', queued) + on('ZCARD', canceling) end
  if limit == 0 or count() < limit then return false end
  for _, key in ipairs({queued, canceling}) do
    for _, of in ipairs(redis.call('ZRANGE', key, 0, FREED - 1)) do
      if not is_recorded(names.records .. of) then redis.call('ZREM', key, of) end
    end
  end
  return count() >= limit
end

-- Return the bytes that an owner is charged with. Expired tasks are charged until they are removed: some are, if the
-- owner is over the limit.
local function stored_below(owner, limit)
  if stored_bytes(owner) > limit then expire_due(FREED) end
  return stored_bytes(owner)
end

do
  -- Removed from ARGV: note.lua reads the rest.
  local head, fingerprint, call = cjson.decode(table.remove(ARGV, 1)), table.remove(ARGV, 1), table.remove(ARGV, 1)
  local record, call_key, queued, canceling, claim = KEYS[1], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
  local now_ms = seconds * 1000 + math.floor(tonumber(time[2]) / 1000)
  local until_ms = string.format('%.0f', now_ms + head.lease_seconds * 1000)
  names, retention, expiry, index_keys = head.names, cjson.decode(ARGV[1]), KEYS[2], KEYS[3]
  if claim then
    local old = on('HMGET', claim, 't', 'f', 'u', '0', 'h')
    if old[1] and not old[4] and (old[5] or old[1]) == head.holder then
      -- The same request again.
      if old[5] then return {'interrupted', old[1]} end
      local submitted_ms = is_recorded(record) and number(redis.call('HGET', record, F.submitted_at))
      if submitted_ms then return {'recorded', submitted_ms} end
    elseif old[1] then
      local left_ms = (tonumber(old[3]) or 0) - now_ms
      -- A lease that ends later than a new one would was written by a wrong clock.
      local is_leased = left_ms > 0 and left_ms <= head.lease_seconds * 1000
      if old[2] ~= fingerprint or old[4] or is_leased then return {'claimed', redis.call('HGETALL', claim)} end
      redis.call('HSET', claim, 'h', head.holder, 'u', until_ms)
      return {'interrupted', old[1]}
    end
  end
  local is_repeated, owner = is_recorded(record)
  owner = owner or head.owner
  local stored
  if is_repeated then
    -- The owner is charged once, unless the limit was 0 at that time.
    for i = 2, #ARGV, 2 do
      if ARGV[i] == F.charged then ARGV[i + 1] = '' end
    end
  else
    if is_full(queued, canceling, head.queued_limit) then return {'full'} end
    if head.stored_limit > 0 then
      local already = stored_below(owner, head.stored_limit - head.charged)
      stored = already + head.charged
      if stored > head.stored_limit then return {'over quota', already} end
    end
  end
  if claim then
    redis.call('HSET', claim, 't', head.holder, 'f', fingerprint, 'u', until_ms)
    redis.call('EXPIRE', claim, head.claim_seconds)
  end
  if stored then
    set_stored_bytes(owner, stored)
    -- A record that vanishes without having expired gives nothing back; without submissions, the counter expires too.
    local key = names.stored .. owner
    if redis.call('TTL', key) < head.counter_seconds then redis.call('EXPIRE', key, head.counter_seconds) end
  end
  -- The call of a task that is done by now stays deleted.
  if call ~= '' and not is_repeated then redis.call('SET', call_key, call, 'EX', head.call_seconds) end
end
