-- Leases and writes one cache entry, whatever it holds.
-- KEYS: a hash: v the value, n the newest version seen, l the lease's token, e when the lease ends (epoch ms).
-- ARGV: verb, time in microseconds or '' for the server's own, then for each verb:
--   lease: token, lease_ms, head of the value that was seen, "wait" or "take". Who holds the lease may fill. "take"
--     takes it from whoever holds it. Reply: {"value", v} when another value is there by now, {"lease", token}, or
--     {"wait", token of the holder, age in ms}.
--   fill: token, value, version, keep_ms, channel, name. As put, if the token is still the lease's: whoever writes
--     or removes the entry takes the lease away, so what was read before a change is never stored after it.
--   put: the same. Store, unless a newer version was seen. Reply of both: {1 or 0, the value that holds now}.
--   release: token. Let the next one have the lease at once.

local key, verb = KEYS[1], ARGV[1]

local function now_ms()
  if ARGV[2] ~= '' then
    return math.floor(tonumber(ARGV[2]) / 1000)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

if verb ~= 'release' then
  local kind = redis.call('TYPE', key)['ok']
  -- Another program's value is in the way of a cache, which may lose everything at any time.
  if kind ~= 'hash' and kind ~= 'none' then
    redis.call('DEL', key)
  end
end

local known = redis.call('HMGET', key, 'v', 'n', 'l', 'e')
local value, newest, holder, ends = known[1] or '', checked(known[2]), known[3] or '', tonumber(known[4] or '0') or 0

if verb == 'lease' then
  local token, lease_ms, seen, mode = ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
  if mode ~= 'take' then
    if value ~= '' and (seen == '' or string.sub(value, 1, #seen) ~= seen) then
      return {'value', value}
    end
    local left = ends - now_ms()
    if holder ~= '' and left > 0 and left <= lease_ms then
      return {'wait', holder, lease_ms - left}
    end
  end
  redis.call('HSET', key, 'l', token, 'e', string.format('%.0f', now_ms() + lease_ms))
  if redis.call('PTTL', key) < lease_ms then
    redis.call('PEXPIRE', key, lease_ms)
  end
  return {'lease', token}
end

if verb == 'release' then
  if holder == ARGV[3] then
    redis.call('HDEL', key, 'l', 'e')
  end
  return 1
end

local token, text, version, keep_ms, channel, name = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local is_leased = holder ~= '' and holder == token and ends > now_ms()
if verb == 'fill' and not is_leased then
  return {0, value}
end
if version ~= '' and is_older(version, newest) then
  redis.call('HDEL', key, 'l', 'e')
  return {0, value}
end
redis.call('HSET', key, 'v', text)
if version ~= '' then
  redis.call('HSET', key, 'n', version)
end
redis.call('HDEL', key, 'l', 'e')
redis.call('PEXPIRE', key, keep_ms)
if channel ~= '' and (verb == 'put' or value ~= '') then
  redis.call('PUBLISH', channel, name)
end
return {1, text}
