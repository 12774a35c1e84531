-- Ask for another copy of the task each time; as many as contenders.py makes.
local path, number = nil, 0

request = function()
  path = path or wrk.path
  number = (number + 1) % 16384
  return wrk.format("GET", path .. "-" .. number)
end
