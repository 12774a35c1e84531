-- Read announcements of task types within limits of entries and bytes. Writes nothing.
-- KEYS: the hash of announcements. ARGV: JSON (script_heads.py, AnnouncementsHead), and a name, or none for all.
-- Returns the time in seconds, 1 if no announcement was omitted because of the limits of all, and the announcements.

local head = cjson.decode(ARGV[1])
local found = {redis.call('TIME')[1], 1}

-- A key of another type holds no announcement; a worker replaces it.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return found end

local count = redis.call('HLEN', KEYS[1])
local names
if ARGV[2] then
  names = {ARGV[2]}
elseif count <= head.limit then
  names = redis.call('HKEYS', KEYS[1])
  table.sort(names)
else
  -- Names without values: HSCAN would copy values of any size.
  names = redis.call('HRANDFIELD', KEYS[1], head.limit)
  found[2] = 0
end

local total = 0
for _, name in ipairs(names) do
  local size = redis.call('HSTRLEN', KEYS[1], name)
  if size > 0 and size <= head.entry_bytes then
    if total + size <= head.total_bytes then
      total = total + size
      found[#found + 1] = redis.call('HGET', KEYS[1], name)
    else
      found[2] = 0
    end
  end
end
return found
