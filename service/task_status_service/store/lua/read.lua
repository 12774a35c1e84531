-- Read records and Celery's metas, each bounded before it leaves Redis. Writes nothing; shared.lua is not needed.
-- KEYS: the records of some tasks; then the meta of each, unless another Redis holds the metas.
-- ARGV: the number of tasks, and the limit of a meta in bytes, less one.
-- Returns for each task its record, and its meta if it was read. A record is its names and values in turn, or only the
-- owner, or '', if the record has expired. A meta is false if its key has another type, as GETRANGE cannot read that.

local count, meta_end = tonumber(ARGV[1]), ARGV[2]
-- A record of the scripts has less than 50 fields, of which each has at most MAX_FIELD_BYTES (codec.py).
local MAX_FIELD_BYTES, MAX_BYTES = 16384, 131072
-- Redis measures this many fields of a hash, and takes their mean for the rest. A hash of so many fields has more than
-- MAX_BYTES, because a field takes at least 56 bytes; of any smaller one, all fields are measured.
local MEASURED = '2500'
local failure, seconds

-- Return whether an answer is an error: a key of another type holds nothing, any other error ends the read.
local function is_error(answer)
  if type(answer) ~= 'table' or not answer.err then return false end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then failure = answer end
  return true
end

local function bounded(key)
  local names = {}
  for _, name in ipairs(FIELDS) do
    local size = redis.pcall('HSTRLEN', key, name)
    if is_error(size) then return size end
    if size > 0 and size <= MAX_FIELD_BYTES then names[#names + 1] = name end
  end
  local fields = {}
  if #names > 0 then
    for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do
      fields[2 * i - 1] = names[i]; fields[2 * i] = value
    end
  end
  return fields
end

local function record_of(key)
  -- Some managed services forbid the command.
  local bytes = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', MEASURED)
  if not bytes then return {} end
  local fields
  if type(bytes) == 'number' and bytes <= MAX_BYTES then
    fields = redis.pcall('HGETALL', key)
  else
    fields = bounded(key)
  end
  if is_error(fields) then return {} end
  for i = 1, #fields, 2 do
    if fields[i] == F.valid_until then
      local valid_until = string.find(fields[i + 1], '^%d+$') and tonumber(fields[i + 1])
      seconds = seconds or tonumber(redis.call('TIME')[1])
      if valid_until and valid_until <= seconds then return {redis.call('HGET', key, F.owner) or ''} end
      break
    end
  end
  return fields
end

local answers = {}
for i = 1, count do
  answers[#answers + 1] = record_of(KEYS[i])
  if KEYS[count + i] then
    local meta = redis.pcall('GETRANGE', KEYS[count + i], 0, meta_end)
    answers[#answers + 1] = not is_error(meta) and meta
  end
  if failure then return failure end
end
return answers
