-- Keeps the token of a tag, which its entries carry. A tag that is gone, by invalidation or with its Redis, makes
-- every entry that carries its token a miss; it is never given the same token again.
-- KEYS: the tag. ARGV: verb, token, then keep_ms, or channel and name.
--   join: return the tag's token, which is kept at least as long as the entry that is about to carry it.
--   end: remove it, and with it all entries that carry it.

if ARGV[1] == 'end' then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
  return 1
end

local keep_ms = tonumber(ARGV[3])
if redis.call('TYPE', KEYS[1])['ok'] ~= 'string' then
  redis.call('DEL', KEYS[1])
end
local token = redis.call('GET', KEYS[1])
if not token or token == '' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', keep_ms)
  return ARGV[2]
end
if redis.call('PTTL', KEYS[1]) < keep_ms then
  redis.call('PEXPIRE', KEYS[1], keep_ms)
end
return token
