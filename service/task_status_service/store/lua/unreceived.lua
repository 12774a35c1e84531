-- Find tasks that no worker has received within `after_ms` after their message was due. Writes nothing.
-- KEYS: the index of one state. ARGV: JSON (submissions.py, UnreceivedHead).
-- Returns the rank at which the next call starts, then the id, queue and number of retries of each task found.

local head = cjson.decode(ARGV[1])
local start, count = head.start, head.count
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local ids = redis.call('ZRANGE', KEYS[1], start, start + count - 1)
local found = {#ids < count and 0 or start + count}

-- An invalid number reads as 0: a broken record must not hide the other tasks.
local function number(packed) return tonumber(packed or 0) or 0 end

local function sent_ms(one)
  -- The time at which the message was sent or becomes due; before that it cannot be missing.
  return math.max(number(one.updated_at), number(one.scheduled_for), number(one.next_retry_at))
end

local NAMES = {
  'fact', 'updated_at', 'scheduled_for', 'next_retry_at', 'queue', 'attempt', 'generation', 'send_unconfirmed',
  'cancel_requested', 'call_changed',
}
for _, id in ipairs(ids) do
  local values = redis.pcall('HMGET', head.records .. id, unpack(NAMES))
  local one = {}
  for i, name in ipairs(NAMES) do one[name] = values[i] or nil end
  local is_waiting = one.fact == 'SUBMITTED' or one.fact == 'REQUEUED' or one.fact == 'RETRYING'
  -- The client repeats an unconfirmed submission. The call of a replaced task differs from the stored call.
  local is_ours = one.send_unconfirmed ~= '1' and one.cancel_requested ~= '1' and one.call_changed ~= '1'
    and (one.generation or '0') == '0'
  if is_waiting and is_ours and one.queue and now_ms - sent_ms(one) > head.after_ms then
    local tried = number(one.attempt) + (one.fact == 'RETRYING' and 1 or 0)
    found[#found + 1] = id; found[#found + 1] = one.queue; found[#found + 1] = tried
  end
end
return found
