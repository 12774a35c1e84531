-- Read another copy of the task each time; the number of copies is COPIES of contenders.py.
local path, number = nil, 0

request = function()
  path = path or wrk.path
  number = (number + 1) % 16384
  return wrk.format("GET", path .. "-" .. number)
end
