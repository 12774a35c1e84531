-- Find tasks that no worker has received within `after_ms` after their message was due. Writes nothing.
-- KEYS: the index of one state. ARGV: JSON (submissions.py, UnreceivedHead).
-- Returns the rank at which the next call starts, then the id, queue and number of retries of each task found.

local head = cjson.decode(ARGV[1])
local start, count = head.start, head.count
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local ids = redis.pcall('ZRANGE', KEYS[1], start, start + count - 1)
-- A key of another type holds no task.
if ids.err then ids = {} end
local found = {#ids < count and 0 or start + count}

-- An invalid number reads as 0: a broken record must not hide the other tasks.
local function number(packed) return tonumber(packed or 0) or 0 end

for _, id in ipairs(ids) do
  -- A key of another type holds no record, and reads as an error without fields.
  local is = redis.pcall('HMGET', head.records .. id, F.fact, F.updated_at, F.scheduled_for, F.next_retry_at, F.queue,
    F.attempt, F.generation, F.send_unconfirmed, F.cancel_requested, F.call_changed, F.valid_until,
    F.submitted_at)
  local fact, queue = is[1], is[5]
  local is_waiting = fact == 'SUBMITTED' or fact == 'REQUEUED' or fact == 'RETRYING'
  local has_expired = is[11] and number(is[11]) <= tonumber(time[1])
  -- The client repeats an unconfirmed submission. The call of a replaced task differs from the stored call.
  local is_ours = is[8] ~= '1' and is[9] ~= '1' and is[10] ~= '1' and number(is[7]) == 0
  -- The time at which the message was sent or becomes due; before that it cannot be missing.
  local sent_ms = math.max(number(is[2] or is[12]), number(is[3]), number(is[4]))
  if is_waiting and is_ours and queue and not has_expired and now_ms - sent_ms > head.after_ms then
    found[#found + 1] = id; found[#found + 1] = queue
    found[#found + 1] = number(is[6]) + (fact == 'RETRYING' and 1 or 0)
  end
end
return found
