-- Ends reservations. A commit keeps what was taken and refuses every later cancel; a cancel gives back
-- exactly what the reservation holds and removes it, so that it happens once.
-- KEYS: the reservations. The limits' keys stand in them and share their hash tag, hence their slot, wherever
--       slots matter.
-- ARGV: verb ("commit" or "cancel"), time or '', "first" or "last". Reply: for each "committed", "cancelled" or
--       "absent"; or, the first time, "elsewhere" and the users of its other parts, which are to be ended before
--       this one, so that one that knows of the others is there until all are ended.

local now_us = microseconds_now(ARGV[2])

local function commit(key, reservation)
  local left_ms = math.ceil(tonumber(reservation[3]) - now_us / 1000)
  local text = table.concat({ 'committed', reservation[2], reservation[3] }, '\n')
  call('SET', key, text, 'PX', text_of(math.max(left_ms, 1)))
  return 'committed'
end

local function cancel(key, reservation)
  call('DEL', key)
  for index = 4, #reservation do
    local words = {}
    for word in string.gmatch(reservation[index], '[^ ]+') do
      words[#words + 1] = word
    end
    local kind, receipt = table.remove(words, 1), table.remove(words)
    if kind ~= 'elsewhere' then
      KINDS[kind].give_back(words, receipt, now_us)
    end
  end
  save_sheets()
  return 'cancelled'
end

local function has_parts(reservation)
  return reservation[4] and string.sub(reservation[4], 1, 10) == 'elsewhere '
end

local replies = {}
for index, key in ipairs(KEYS) do
  local reservation = read_reservation(key, now_us)
  if not reservation then
    replies[index] = 'absent'
  elseif reservation[1] == 'committed' then
    replies[index] = 'committed'
  elseif ARGV[3] == 'first' and has_parts(reservation) then
    replies[index] = reservation[4]
  else
    replies[index] = (ARGV[1] == 'commit' and commit or cancel)(key, reservation)
  end
end
return replies
