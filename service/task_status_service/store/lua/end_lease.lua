-- End the lease of a claim, unless somebody else holds it by now: with an answer for good, without one so that the next
-- request goes on at once.
-- KEYS: the claim. ARGV: who holds the lease, the answer or ''.

if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'until', 0)
  if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'answer', ARGV[2]) end
end
return 0
