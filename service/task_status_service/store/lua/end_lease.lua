-- End the lease of a claim, unless another request holds it by now. With an answer the claim is answered for good;
-- without one the next request with the same key can continue at once.
-- KEYS: the claim. ARGV: JSON (submissions.py, EndLeaseHead); the answer, which is empty if there is none.

local head, answer = cjson.decode(ARGV[1]), ARGV[2]

if redis.call('HGET', KEYS[1], 'holder') == head.holder then
  redis.call('HSET', KEYS[1], 'until', 0)
  if answer ~= '' then redis.call('HSET', KEYS[1], 'answer', answer) end
end
return 0
