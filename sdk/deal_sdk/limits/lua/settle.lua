-- Ends one reservation. A commit keeps what was taken and refuses every later cancel; a cancel gives back
-- exactly what the reservation holds and removes it, so that it happens once.
-- KEYS: the reservation. The limits' keys stand in the reservation and share its hash tag, hence its slot.
-- ARGV: verb ("commit" or "cancel"), time or ''. Reply: "committed", "cancelled" or "absent".

local now_us = microseconds_now(ARGV[2])
local reservation = read_reservation(KEYS[1], now_us)
if not reservation then
  return 'absent'
end
if reservation[1] == 'committed' then
  return 'committed'
end

if ARGV[1] == 'commit' then
  local left_ms = math.ceil(tonumber(reservation[3]) - now_us / 1000)
  local text = table.concat({ 'committed', reservation[2], reservation[3] }, '\n')
  redis.call('SET', KEYS[1], text, 'PX', text_of(math.max(left_ms, 1)))
  return 'committed'
end

redis.call('DEL', KEYS[1])
for index = 4, #reservation do
  local words = {}
  for word in string.gmatch(reservation[index], '[^ ]+') do
    words[#words + 1] = word
  end
  local kind, receipt = table.remove(words, 1), table.remove(words)
  KINDS[kind].give_back(words, receipt, now_us)
end
return 'cancelled'
