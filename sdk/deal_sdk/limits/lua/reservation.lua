-- A reservation: state, fingerprint and end, then for each limit its kind, its keys and its receipt; a line each.
-- One whose limits lie in several slots has its parts there, and a line "elsewhere" that names their users.
local function read_reservation(key, now_us)
  local text = call('GET', key)
  if not text then
    return nil
  end
  local lines = {}
  for line in string.gmatch(text, '[^\n]+') do
    lines[#lines + 1] = line
  end
  if number_at(key, lines[3]) * 1000 <= now_us then
    return nil
  end
  return lines
end
