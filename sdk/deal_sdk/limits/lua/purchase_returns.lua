-- Only into the period that it was taken from: a later period owes it nothing.
local function return_purchase(keys, receipt, now_us)
  local now_ms = floor(now_us / 1000)
  local taken_ms, period_ms = match(receipt, '^(%d+):(%d+)$')
  local count, ends_ms, record = read_purchase(keys[1], keys[2], 0, now_ms)
  if not ends_ms or text_of(ends_ms) ~= taken_ms or count <= 0 then
    return
  end
  local tail = match(record, '^{"currentCount":%d+,"periodEndTimestamp":%d+(,.*)$') or '}'
  if count == 1 then
    -- The next purchase begins a period. The record stays as a trace, or it would be looked up in SQL.
    call('DEL', keys[1])
    call('SET', keys[2], '{"currentCount":0,"periodEndTimestamp":0' .. tail, 'PX', period_ms)
    return
  end
  write_purchase(keys[1], keys[2], count - 1, ends_ms, now_ms, tonumber(period_ms), tail)
end

KINDS.purchase = { give_back = return_purchase }
