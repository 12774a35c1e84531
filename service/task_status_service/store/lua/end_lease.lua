-- End the lease of a claim, unless another request holds it by now. An answer is stored for all later requests with the
-- same key; without an answer the next request with the same key continues at once.
-- KEYS: the claim. ARGV: JSON (submissions.py, EndLeaseHead); the answer, or an empty string without an answer.

local head, answer = cjson.decode(ARGV[1]), ARGV[2]

if redis.call('HGET', KEYS[1], 'holder') == head.holder then
  redis.call('HSET', KEYS[1], 'until', 0)
  if answer ~= '' then redis.call('HSET', KEYS[1], 'answer', answer) end
end
return 0
