-- Read one page of the index, newest first: by time, then by id, both descending. Writes nothing.
-- Returns {time and id of the last task read, both empty at the end of the index, ids}.
-- KEYS: the sorted sets of the states, each task in one of them; then that of a name, if the filter has a name.
-- ARGV: JSON (index.py, PageQuery).
--
-- Rule 1: the cost is bounded: at most `limit` tasks are returned and `look_at` read.
-- Rule 2: the cursor position is a time and an id, so a task that changes its state or is deleted does not break it.

local want = cjson.decode(ARGV[1])
local CHUNK = 50

-- Lua compares strings by the locale; sorted sets compare bytes.
local function is_below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function first_rank(key)
  local rank = want.before and redis.call('ZCOUNT', key, want.before, '+inf') or 0
  if not want.at then return rank end
  -- Among tasks of the same millisecond, those with a lower id follow. A binary search, because there may be many.
  local low = redis.call('ZCOUNT', key, '(' .. want.at, '+inf')
  local high = low + redis.call('ZCOUNT', key, want.at, want.at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_below(redis.call('ZREVRANGE', key, middle, middle)[1], want.id) then high = middle else low = middle + 1 end
  end
  return math.max(rank, low)
end

local function size(keys)
  local sum = 0
  for _, key in ipairs(keys) do sum = sum + redis.call('ZCARD', key) end
  return sum
end

-- By state and by name: read the smaller index, and check the other condition in each record.
-- A key of another type holds no task: it reads as empty, and the next note about such a task replaces it.
for i = #KEYS, 1, -1 do
  if redis.call('TYPE', KEYS[i]).ok ~= 'zset' then
    if want.name and i == #KEYS then return {'', '', {}} end
    table.remove(KEYS, i)
  end
end
local keys, by_name = KEYS, nil
if want.name then
  by_name = table.remove(keys)
  if #keys == 0 or redis.call('ZCARD', by_name) <= size(keys) then keys = {by_name} end
end
local looks_at_name = want.name and keys[1] ~= by_name
local looks_at_state = want.states and keys[1] == by_name
local looks_at_records = looks_at_name or looks_at_state or want.labels
local limit, look_at = want.limit, looks_at_records and want.look_at or want.limit

local is_wanted = {}
for _, state in ipairs(want.states or {}) do is_wanted[state] = true end

local function fits(id)
  if not looks_at_records then return true end
  -- A key of another type holds no record.
  local record = redis.pcall('HMGET', want.records .. id, F.name, F.indexed_as, F.labels)
  if looks_at_name and record[1] ~= want.name then return false end
  if looks_at_state and not is_wanted[record[2] or 'queued'] then return false end
  if want.labels then
    local is_json, labels = pcall(cjson.decode, record[3] or '{}')
    if not is_json or type(labels) ~= 'table' then return false end
    for name, text in pairs(want.labels) do
      if labels[name] ~= text then return false end
    end
  end
  return true
end

local streams = {}
for i, key in ipairs(keys) do streams[i] = {key = key, rank = first_rank(key), chunk = {}, at = 1} end

local function head(stream)
  if stream.chunk and stream.at > #stream.chunk then
    stream.chunk = redis.call('ZREVRANGE', stream.key, stream.rank, stream.rank + CHUNK - 1, 'WITHSCORES')
    stream.rank, stream.at = stream.rank + CHUNK, 1
    if #stream.chunk == 0 then stream.chunk = nil end
  end
  if not stream.chunk then return nil end
  return stream.chunk[stream.at], tonumber(stream.chunk[stream.at + 1])
end

local function newest()
  local best, best_id, best_at
  for _, stream in ipairs(streams) do
    local id, at = head(stream)
    if id and (not best or at > best_at or (at == best_at and is_below(best_id, id))) then
      best, best_id, best_at = stream, id, at
    end
  end
  if best and want.after and best_at < tonumber(want.after) then return nil end
  return best, best_id, best_at
end

local found, looked, last_at, last_id = {}, 0, '', ''
local stream, id, at = newest()
while stream and #found < limit and looked < look_at do
  stream.at, looked = stream.at + 2, looked + 1
  last_at, last_id = string.format('%.0f', at), id
  if fits(id) then found[#found + 1] = id end
  stream, id, at = newest()
end
if not stream then last_at, last_id = '', '' end
return {last_at, last_id, found}
