-- Turn the records of due tasks into tombstones; returns how many tasks were due. shared.lua precedes this script.
-- KEYS: the index by expiry. ARGV: JSON (script_heads.py, SweepHead).

local head = cjson.decode(ARGV[1])
names, retention, expiry = head.names, head, KEYS[1]
return expire_due(head.limit)
