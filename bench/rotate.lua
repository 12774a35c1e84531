-- Read another task with each request; COPIES in contenders.py is their number.
local path, number = nil, 0

request = function()
  path = path or wrk.path
  number = (number + 1) % 16384
  return wrk.format("GET", path .. "-" .. number)
end
