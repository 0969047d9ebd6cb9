-- Removes cache entries and takes their leases away. The newest version seen is remembered.
-- KEYS: the hashes of entry.lua. ARGV: keep_ms, channel, then for each key the version of its change ('' for none) and
-- the name that listeners know it by. Reply: how many keys.

local keep_ms, channel = ARGV[1], ARGV[2]

for index, key in ipairs(KEYS) do
  local version, name = ARGV[2 * index + 1], ARGV[2 * index + 2]
  -- Of another type it has no version, and goes all the same.
  local found = redis.pcall('HGET', key, 'n')
  local newest = checked(type(found) == 'string' and found)
  redis.call('DEL', key)
  if is_older(newest, version) then
    newest = version
  end
  if newest ~= '0' then
    redis.call('HSET', key, 'n', newest)
    redis.call('PEXPIRE', key, keep_ms)
  end
  if channel ~= '' then
    redis.call('PUBLISH', channel, name)
  end
end
return #KEYS
