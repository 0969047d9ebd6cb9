local function return_window(keys, receipt, now_us)
  local now_ms = floor(now_us / 1000)
  local at_ms, cost, window_ms, field = match(receipt, '^(%d+):(%d+):(%d+):(.+)$')
  at_ms, cost, window_ms = tonumber(at_ms), tonumber(cost), tonumber(window_ms)
  local sheet, mark = sheet_of(keys[1]), NEWLINE .. field .. ' '
  -- Hits of this very moment are noted at the end of their granule and stay there: they have receipts too.
  local log = read_window(sheet, mark, window_ms, math.huge, now_ms)
  local kept = { ats = {}, hits = {} }
  for index, noted_ms in ipairs(log.ats) do
    local hits = log.hits[index]
    if noted_ms == at_ms then
      hits = hits - math.min(cost, hits)
    end
    if hits > 0 then
      kept.ats[#kept.ats + 1] = noted_ms
      kept.hits[#kept.ats] = hits
    end
  end
  write_window(sheet, mark, kept)
end

KINDS.window = { give_back = return_window }
