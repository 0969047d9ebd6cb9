-- Takes any number of limits together, or none.
-- KEYS: the reservation (mode "reserve" only), then each limit's keys in order.
-- ARGV: mode ("reserve", "take" or "peek"), time or '', reservation_ms, fingerprint, users of the other parts
--       or '', number of limits; then for each limit: kind, number of keys, number of arguments, arguments.
--       A "~" before the kind is a shadow: it counts what it would allow, and never refuses.
-- Reply: status ("allowed", "refused", "replayed", "conflict", "unknown" or "apart"), then for each limit
--        {ok, current, max, retry_ms, reset_ms}. Everything is read before anything is written.

local mode, now_us = ARGV[1], microseconds_now(ARGV[2])

if mode == 'reserve' then
  local reservation = read_reservation(KEYS[1], now_us)
  if reservation then
    return { reservation[2] == ARGV[4] and 'replayed' or 'conflict' }
  end
end

local limits, allowed, unknown, apart = {}, true, false, false
local next_key, next_argument = mode == 'reserve' and 2 or 1, 7
for index = 1, tonumber(ARGV[6]) do
  local shadow, name = string.match(ARGV[next_argument], '^(~?)(.+)$')
  local limit = { name = name, shadow = shadow ~= '', kind = KINDS[name], keys = {}, arguments = {} }
  for offset = 0, tonumber(ARGV[next_argument + 1]) - 1 do
    limit.keys[offset + 1] = KEYS[next_key + offset]
  end
  for offset = 1, tonumber(ARGV[next_argument + 2]) do
    limit.arguments[offset] = ARGV[next_argument + 2 + offset]
  end
  next_key = next_key + #limit.keys
  next_argument = next_argument + 3 + #limit.arguments
  limit.found = limit.kind.check(limit.keys, limit.arguments, now_us)
  allowed = allowed and (limit.found.ok or limit.shadow)
  unknown = unknown or limit.found.unknown
  apart = apart or limit.found.apart
  limits[index] = limit
end

if apart then
  return { 'apart' }
end
if unknown then
  return { 'unknown' }
end

if allowed and mode ~= 'peek' then
  local ends_ms = math.floor(now_us / 1000) + tonumber(ARGV[3])
  local lines = { 'reserved', ARGV[4], text_of(ends_ms) }
  if ARGV[5] ~= '' then
    lines[4] = 'elsewhere ' .. ARGV[5]
  end
  for _, limit in ipairs(limits) do
    if limit.found.ok then
      local receipt = limit.kind.take(limit.found, limit.keys, limit.arguments, now_us)
      lines[#lines + 1] = limit.name .. ' ' .. table.concat(limit.keys, ' ') .. ' ' .. receipt
    end
  end
  if mode == 'reserve' then
    redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'PX', ARGV[3])
  end
end

local reply = { allowed and 'allowed' or 'refused' }
for index, limit in ipairs(limits) do
  local found = limit.found
  reply[index + 1] = { found.ok and 1 or 0, found.current, found.max, found.retry_ms, found.reset_ms }
end
return reply
