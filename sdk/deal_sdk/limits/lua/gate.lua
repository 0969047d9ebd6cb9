-- Takes any number of limits together, or none.
-- KEYS: the reservation (mode "reserve" only), then each limit's keys in order.
-- ARGV: mode ("reserve", "take" or "peek"), time or ''; to reserve also reservation_ms, fingerprint, and the users of
--       the other parts or ''; then of each limit its kind and its words.
--       A "~" before the kind is a shadow: it counts what it would allow, and never refuses.
-- Reply: status ("allowed", "refused", "replayed", "conflict", "unknown" or "apart"), then of each limit five values:
--        ok, current, max, retry_ms, reset_ms. Everything is read before anything is written.

local mode, now_us = ARGV[1], microseconds_now(ARGV[2])
local key, place = 1, 3

if mode == 'reserve' then
  local reservation = read_reservation(KEYS[1], now_us)
  if reservation then
    return { reservation[2] == ARGV[4] and 'replayed' or 'conflict' }
  end
  key, place = 2, 6
end

local limits, kinds, keys, bases = {}, {}, {}, {}
local count, last, allowed, unknown, apart = 0, #ARGV, true, false, false
while place <= last do
  local kind, shadow = KINDS[ARGV[place]], false
  if not kind then
    kind, shadow = KINDS[sub(ARGV[place], 2)], true
  end
  local found = kind.check(key, place, now_us)
  allowed = allowed and (found.ok or shadow)
  unknown = unknown or found.unknown
  apart = apart or found.apart
  count = count + 1
  limits[count], kinds[count], keys[count], bases[count] = found, kind, key, place
  key, place = key + kind.keys, place + kind.words + 1
end

if apart then
  return { 'apart' }
end
if unknown then
  return { 'unknown' }
end

if allowed and mode ~= 'peek' then
  for index = 1, count do
    local found = limits[index]
    if found.ok then
      kinds[index].take(found, keys[index], bases[index])
    end
  end
  if save_sheets then
    save_sheets()
  end
end

if allowed and mode == 'reserve' then
  local lines = { 'reserved', ARGV[4], text_of(floor(now_us / 1000) + tonumber(ARGV[3])) }
  if ARGV[5] ~= '' then
    lines[4] = 'elsewhere ' .. ARGV[5]
  end
  for index = 1, count do
    local kind, first = kinds[index], keys[index]
    if limits[index].ok then
      local names = table.concat(KEYS, ' ', first, first + kind.keys - 1)
      lines[#lines + 1] = kind.name .. ' ' .. names .. ' ' .. kind.receipt(limits[index], bases[index])
    end
  end
  call('SET', KEYS[1], table.concat(lines, '\n'), 'PX', ARGV[3])
end

local reply, size = { allowed and 'allowed' or 'refused' }, 1
for index = 1, count do
  local found = limits[index]
  reply[size + 1], reply[size + 2], reply[size + 3] = found.ok and 1 or 0, found.current, found.max
  reply[size + 4], reply[size + 5] = found.retry_ms, found.reset_ms
  size = size + 5
end
return reply
