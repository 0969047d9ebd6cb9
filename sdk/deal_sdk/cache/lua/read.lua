-- Reads many cache entries at once.
-- KEYS: the hashes of entry.lua. Reply: for each key its value and its lease's token, nil for none; a key of another
-- type reads as an empty value, which nobody can use.

local replies = {}
for index, key in ipairs(KEYS) do
  local found = redis.pcall('HMGET', key, 'v', 'l')
  if found.err then
    found = {'', false}
  end
  replies[2 * index - 1], replies[2 * index] = found[1], found[2]
end
return replies
