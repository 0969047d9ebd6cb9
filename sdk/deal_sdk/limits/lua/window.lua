-- window: a log of hits. A hit is noted at the end of its granule and counts for window_ms from there, so
-- never more than `max` fall into any window, and none is held back longer than one granule too long.
-- The log: the first time, then for each further one the units since the one before; "~" and a number after a time
-- say that it stands for so many hits. A number ends with one of 80 characters, and begins with some of 13 others.
local UNIT_MS = 20
local FINAL, FINALS, LEADING, LEADINGS, HITS = 33, 80, 113, 13, 126

local function digits_of(number)
  local text = string.char(FINAL + number % FINALS)
  number = floor(number / FINALS)
  while number > 0 do
    text = string.char(LEADING + number % LEADINGS) .. text
    number = floor(number / LEADINGS)
  end
  return text
end

local function hits_text(hits)
  return hits == 1 and '' or '~' .. digits_of(hits)
end

-- A time in the future means that the server's clock went back. A little back, and it counts as now; by more than a
-- window, and it is forgotten, or it would refuse until the clock is there again.
local function without_future(log, window_ms, latest_ms)
  local ats, hits = {}, {}
  for index, at_ms in ipairs(log.ats) do
    if at_ms - latest_ms <= window_ms then
      ats[#ats + 1] = math.min(at_ms, latest_ms)
      hits[#ats] = log.hits[index]
    end
  end
  return { ats = ats, hits = hits }
end

-- Reads the times that still count. `body`, where it is there, is the log's own writing of them, from the hits of the
-- first to the hits of the last, so that a hit is added without writing the others anew.
local function read_window(sheet, mark, window_ms, latest_ms, now_ms)
  local text = sheet_value(sheet, mark)
  if not text then
    return { ats = {}, hits = {}, count = 0 }
  end
  local at_text, body = match(text, '^(%d+) (.*)$')
  local at_ms, since_ms = number_at(sheet.key, at_text), now_ms - window_ms
  local ats, hits, length, first, last = {}, {}, 0, nil, nil
  if at_ms > since_ms then
    ats[1], hits[1], length, first, last = at_ms, 1, 1, 1, 1
  end
  local number, is_hits = 0, false
  local bytes = { string.byte(body, 1, -1) }
  for index = 1, #bytes do
    local byte = bytes[index]
    if byte == HITS then
      is_hits = true
    elseif byte >= LEADING then
      number = number * LEADINGS + byte - LEADING
    else
      number = number * FINALS + byte - FINAL
      if is_hits then
        is_hits = false
        if length > 0 then
          hits[length] = number
        end
      else
        at_ms = at_ms + number * UNIT_MS
        if at_ms > since_ms then
          length = length + 1
          ats[length], hits[length], last = at_ms, 1, index + 1
          first = first or last
        end
      end
      number = 0
    end
  end
  local log = { ats = ats, hits = hits, body = first and sub(body, first, last - 1), count = 0 }
  if length > 0 and at_ms > latest_ms then
    log = without_future(log, window_ms, latest_ms)
    hits, length = log.hits, #log.hits
  end
  local count = 0
  for index = 1, length do
    count = count + hits[index]
  end
  log.count = count
  return log
end

local function write_window(sheet, mark, log)
  local ats, hits = log.ats, log.hits
  local length, body = #ats, log.body
  if length == 0 then
    set_sheet_value(sheet, mark, nil)
    return
  end
  if not body then
    -- All but the hits of the last.
    body = ''
    for index = 2, length do
      body = body .. hits_text(hits[index - 1]) .. digits_of((ats[index] - ats[index - 1]) / UNIT_MS)
    end
  end
  set_sheet_value(sheet, mark, text_of(ats[1]) .. ' ' .. body .. hits_text(hits[length]))
end
