-- Forgets cached balances, not the slots they were seen at, and changes their guards.
-- KEYS: the hashes of balance.lua. ARGV: guard token, keep_ms, then for each key the slot of its change.
-- Reply: how many keys.

local token, keep_ms = ARGV[1], ARGV[2]

for index, key in ipairs(KEYS) do
  local slot, newest = ARGV[index + 2], redis.call('HGET', key, 's') or '0'
  redis.call('HDEL', key, 'v')
  redis.call('HSET', key, 'g', token, 's', is_older(newest, slot) and slot or newest)
  redis.call('PEXPIRE', key, keep_ms)
end
return #KEYS
