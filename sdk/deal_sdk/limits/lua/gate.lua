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

local limits, keys, bases = {}, {}, {}
local allowed, unknown, apart = true, false, false
local key, place = mode == 'reserve' and 2 or 1, 7
for index = 1, tonumber(ARGV[6]) do
  local name, base = ARGV[place], place + 2
  local shadow = string.sub(name, 1, 1) == '~'
  local kind = KINDS[shadow and string.sub(name, 2) or name]
  local found = kind.check(key, base, now_us)
  allowed = allowed and (found.ok or shadow)
  unknown = unknown or found.unknown
  apart = apart or found.apart
  limits[index], keys[index], bases[index] = found, key, base
  key, place = key + tonumber(ARGV[place + 1]), base + tonumber(ARGV[base]) + 1
end

if apart then
  return { 'apart' }
end
if unknown then
  return { 'unknown' }
end

if allowed and mode ~= 'peek' then
  for index, found in ipairs(limits) do
    if found.ok then
      found.kind.take(found, keys[index], bases[index])
    end
  end
  save_sheets()
end

if allowed and mode == 'reserve' then
  local lines = { 'reserved', ARGV[4], text_of(math.floor(now_us / 1000) + tonumber(ARGV[3])) }
  if ARGV[5] ~= '' then
    lines[4] = 'elsewhere ' .. ARGV[5]
  end
  for index, found in ipairs(limits) do
    if found.ok then
      local base = bases[index]
      local names = table.concat(KEYS, ' ', keys[index], keys[index] + tonumber(ARGV[base - 1]) - 1)
      lines[#lines + 1] = found.kind.name .. ' ' .. names .. ' ' .. found.kind.receipt(found, base)
    end
  end
  redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'PX', ARGV[3])
end

local reply = { allowed and 'allowed' or 'refused' }
for index, found in ipairs(limits) do
  reply[index + 1] = { found.ok and 1 or 0, found.current, found.max, found.retry_ms, found.reset_ms }
end
return reply
