-- keys: the sheet. words: field, max, window_ms, granule_ms (of whole units), cost.

local function check_window(key, base, now_us)
  local now_ms, mark = floor(now_us / 1000), NEWLINE .. ARGV[base + 1] .. ' '
  local max, window_ms = tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local granule_ms, cost = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5])
  local noted_ms = ceil(now_us / 1000 / granule_ms) * granule_ms
  local sheet = sheet_of(KEYS[key])
  local log = read_window(sheet, mark, window_ms, noted_ms, now_ms)
  local ats, count = log.ats, log.count
  local retry_ms, excess, length = 0, count + cost - max, #ats
  for index = 1, length do
    if excess <= 0 then
      break
    end
    excess = excess - log.hits[index]
    retry_ms = ats[index] + window_ms - now_ms
  end
  return {
    ok = count + cost <= max, current = count, max = max, cost = cost, retry_ms = retry_ms,
    reset_ms = length > 0 and ats[length] + window_ms - now_ms or 0,
    sheet = sheet, mark = mark, log = log, noted_ms = noted_ms, window_ms = window_ms, now_ms = now_ms,
  }
end

local function take_window(found)
  local log, noted_ms, cost = found.log, found.noted_ms, found.cost
  local ats, hits = log.ats, log.hits
  local length = #ats
  if length > 0 and ats[length] == noted_ms then
    hits[length] = hits[length] + cost
  else
    if log.body then
      log.body = log.body .. hits_text(hits[length]) .. digits_of((noted_ms - ats[length]) / UNIT_MS)
    end
    ats[length + 1], hits[length + 1] = noted_ms, cost
  end
  write_window(found.sheet, found.mark, log)
  found.current = found.current + cost
  found.reset_ms = noted_ms + found.window_ms - found.now_ms
end

local function receipt_of_window(found, base)
  local words = { text_of(found.noted_ms), text_of(found.cost), text_of(found.window_ms), ARGV[base + 1] }
  return table.concat(words, ':')
end

KINDS.window = {
  name = 'window', keys = 1, words = 5,
  check = check_window, take = take_window, receipt = receipt_of_window,
}
