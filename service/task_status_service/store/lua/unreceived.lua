-- Find tasks that no worker has received although their message was to be there for a while. Writes nothing.
-- KEYS: the index of a state. ARGV: where in the index to go on, how many to look at, milliseconds from which on a task is
-- unreceived, what every record's key begins with.
-- Returns where to go on next time, then for each one that was found: its id, its queue, and how often it was tried.

local start, count, after_ms, records = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local ids = redis.call('ZRANGE', KEYS[1], start, start + count - 1)
local found = {#ids < count and 0 or start + count}

-- What is no number counts as none: a record that somebody else has written into must not hide the others.
local function number(packed) return tonumber(packed or 0) or 0 end

local function sent_ms(one)
  -- When its message was sent, or was to be looked at: nobody misses it before.
  return math.max(number(one.updated_at), number(one.scheduled_for), number(one.next_retry_at))
end

local NAMES = {
  'fact', 'updated_at', 'scheduled_for', 'next_retry_at', 'queue', 'attempt', 'generation', 'send_unconfirmed',
  'cancel_requested', 'call_changed',
}
for _, id in ipairs(ids) do
  local values = redis.pcall('HMGET', records .. id, unpack(NAMES))
  local one = {}
  for i, name in ipairs(NAMES) do one[name] = values[i] or nil end
  local is_waiting = one.fact == 'SUBMITTED' or one.fact == 'REQUEUED' or one.fact == 'RETRYING'
  -- What the client was told may have failed is its own to repeat; what replaced the task is another call.
  local is_ours = one.send_unconfirmed ~= '1' and one.cancel_requested ~= '1' and one.call_changed ~= '1'
    and (one.generation or '0') == '0'
  if is_waiting and is_ours and one.queue and now_ms - sent_ms(one) > after_ms then
    local tried = number(one.attempt) + (one.fact == 'RETRYING' and 1 or 0)
    found[#found + 1] = id; found[#found + 1] = one.queue; found[#found + 1] = tried
  end
end
return found
