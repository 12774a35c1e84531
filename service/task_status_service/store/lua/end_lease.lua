-- End the lease of a claim, unless another request holds it by now. An answer is stored for all later requests with the
-- same key, and is never replaced; without an answer the next request with the same key continues at once.
-- KEYS: the claim (fields: submit.lua). ARGV: JSON (submissions.py, EndLeaseHead); the parts of the answer, if any.

local head = cjson.decode(table.remove(ARGV, 1))
-- A key of another type holds no claim.
local claim = redis.pcall('HMGET', KEYS[1], 't', 'h', '0')

if claim.err or (claim[2] or claim[1]) ~= head.holder or claim[3] then return 0 end
redis.call('HDEL', KEYS[1], 'h', 'u')
for i, part in ipairs(ARGV) do redis.call('HSET', KEYS[1], i - 1, part) end
return 0
