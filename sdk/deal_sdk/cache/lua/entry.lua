-- Writes one cache entry. Each entry has a guard: a token that changes with every write and removal, so that
-- a value which was read from the source before the change cannot be stored after it.
-- KEYS: entry, guard (same hash tag). ARGV: verb, value, ttl_ms, guard token, guard_ms.
-- "fill": store what a miss has loaded, if the guard is still the one seen at the miss.
-- "put": store a value that the caller knows to be new. "drop": remove. Reply: 1 when done, 0 when refused.

local verb, value, ttl_ms, token, guard_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if verb == 'fill' then
  if (redis.call('GET', KEYS[2]) or '') ~= token then
    return 0
  end
  redis.call('SET', KEYS[1], value, 'PX', ttl_ms)
  return 1
end

redis.call('SET', KEYS[2], token, 'PX', guard_ms)
if verb == 'put' then
  redis.call('SET', KEYS[1], value, 'PX', ttl_ms)
  return 1
end
return redis.call('DEL', KEYS[1])
