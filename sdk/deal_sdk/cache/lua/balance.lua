-- Writes one cached balance. Slots are compared as text, because a Lua number holds only 53 bits.
-- KEYS: a hash: v "amount slot stored_at_ms", s the newest slot seen, g the guard token.
-- ARGV: verb, amount, slot, stored_at_ms, guard token, keep_ms.
-- "fill": as put, if the guard is still the one seen before the chain was read. "put": store, unless a newer slot
-- was seen. Reply: the value that holds now, or ''.

local verb, amount, slot, stored_at, token, keep_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local known = redis.call('HMGET', KEYS[1], 'v', 's', 'g')
local value, newest, guard = known[1] or '', known[2] or '0', known[3] or ''

if is_older(slot, newest) or (verb == 'fill' and guard ~= token) then
  return value
end
value = amount .. ' ' .. slot .. ' ' .. stored_at
redis.call('HSET', KEYS[1], 'v', value, 's', slot)
redis.call('PEXPIRE', KEYS[1], keep_ms)
return value
