-- Read one page of the index, newest first: by time, then by id, both descending. Writes nothing.
-- Returns {time and id of the last task looked at, both empty at the end of the index, ids}.
-- KEYS: sorted sets of the index, condition after condition. A task fits a condition if one of its sets has it as member.
-- ARGV: JSON (index.py, PageQuery); the id of the task before the page, if there is one.
--
-- Rule 1: the sets of the rarest condition are walked. The other conditions are checked for each of their members, by
--         membership, so no record is read.
-- Rule 2: the cost is bounded: at most `limit` tasks are returned, `look_at` members checked and MAX_BYTES read.
-- Rule 3: the cursor position is a time and an id, so a task that changes its state or is deleted does not break it.
-- Rule 4: a key of another type is an empty set. Members that cannot be tasks are skipped: long ones, those with control
--         characters, and those whose time is no whole number of milliseconds.

local want, last_before = cjson.decode(ARGV[1]), ARGV[2]
local MAX_ID_BYTES, MAX_BYTES, MAX_CHUNK = 255, 524288, 64
-- A sorted set stores integers exactly up to 2^53.
local from, to = want.after or '0', want.before and '(' .. want.before or '9007199254740992'
local above = want.before or '(9007199254740992'

-- Lua compares strings by the locale; sorted sets compare bytes.
local function is_below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- A longer text, cut to one more byte than an id has, is still after the id that it begins with.
local function cut(member) return string.sub(member, 1, MAX_ID_BYTES + 1) end

local conditions, position = {}, 0
for _, count in ipairs(want.counts) do
  local condition = {size = 0, keys = {}}
  for _ = 1, count do
    position = position + 1
    local size = redis.pcall('ZCOUNT', KEYS[position], from, to)
    if type(size) == 'number' then
      condition.size = condition.size + size
      if size > 0 then condition.keys[#condition.keys + 1] = KEYS[position] end
    elseif not string.find(size.err, 'WRONGTYPE', 1, true) then
      return size
    end
  end
  conditions[#conditions + 1] = condition
end
table.sort(conditions, function(one, other) return one.size < other.size end)
local walked = table.remove(conditions, 1)
local look_at = #conditions > 0 and want.look_at or want.limit

local function fits(id)
  for _, condition in ipairs(conditions) do
    local is_member = false
    for _, key in ipairs(condition.keys) do is_member = is_member or redis.call('ZSCORE', key, id) end
    if not is_member then return false end
  end
  return true
end

local function first_rank(key)
  local rank = redis.call('ZCOUNT', key, above, '+inf')
  if not want.at then return rank end
  -- Among tasks of the same millisecond, those with a lower id follow. A binary search, because there may be many.
  local low = redis.call('ZCOUNT', key, '(' .. want.at, '+inf')
  local high = low + redis.call('ZCOUNT', key, want.at, want.at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_below(cut(redis.call('ZREVRANGE', key, middle, middle)[1]), last_before) then
      high = middle
    else
      low = middle + 1
    end
  end
  return math.max(rank, low)
end

local streams, bytes = {}, 0
-- The first chunk is small: the size of a member is unknown until it is read.
for i, key in ipairs(walked.keys) do
  streams[i] = {key = key, rank = first_rank(key), chunk = {}, at = 1, size = 4}
end

local function fetch(stream)
  local chunk = redis.call('ZREVRANGE', stream.key, stream.rank, stream.rank + stream.size - 1, 'WITHSCORES')
  stream.rank, stream.at, stream.size = stream.rank + stream.size, 1, math.min(2 * stream.size, MAX_CHUNK)
  for i = 1, #chunk, 2 do
    bytes = bytes + #chunk[i]
    if #chunk[i] > MAX_ID_BYTES then stream.size = 1 end
    chunk[i] = cut(chunk[i])
  end
  stream.chunk = #chunk > 0 and chunk or nil
end

local function head(stream)
  if stream.chunk and stream.at > #stream.chunk then fetch(stream) end
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
  if best and best_at < tonumber(from) then return nil end
  return best, best_id, best_at
end

local function is_task(id, at)
  return #id <= MAX_ID_BYTES and at == math.floor(at) and not string.find(id, '%c')
end

local found, looked, last_id, last_at = {}, 0, nil, nil
local stream, id, at = newest()
while stream and #found < want.limit and looked < look_at and (looked == 0 or bytes < MAX_BYTES) do
  stream.at, looked = stream.at + 2, looked + 1
  -- A task that changes its state is in one set only; a forged one may be in several.
  local is_repeated = id == last_id and at == last_at
  if not is_repeated and is_task(id, at) and fits(id) then found[#found + 1] = id end
  last_id, last_at = id, at
  stream, id, at = newest()
end
if not stream then return {'', '', found} end
-- The position in the walk after a time that is not whole is the next whole one below it.
if last_at ~= math.floor(last_at) then last_id = '\255' end
return {string.format('%.0f', math.floor(last_at)), string.sub(last_id, 1, MAX_ID_BYTES), found}
