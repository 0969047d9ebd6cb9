-- How a hit of each kind is given back by its receipt. Between state.lua and settle.lua.

-- Only into the period that it was taken from: a later period owes it nothing.
function purchase.give_back(keys, receipt, now_us)
  local now_ms = math.floor(now_us / 1000)
  local taken_ms, period_ms = string.match(receipt, '^(%d+):(%d+)$')
  local count, ends_ms, record = purchase.read(keys[1], keys[2], 0, now_ms)
  if not ends_ms or text_of(ends_ms) ~= taken_ms or count <= 0 then
    return
  end
  local tail = string.match(record, '^{"currentCount":%d+,"periodEndTimestamp":%d+(,.*)$') or '}'
  if count == 1 then
    -- The next purchase begins a period. The record stays as a trace, or it would be looked up in SQL.
    redis.call('DEL', keys[1])
    redis.call('SET', keys[2], '{"currentCount":0,"periodEndTimestamp":0' .. tail, 'PX', period_ms)
    return
  end
  purchase.write(keys[1], keys[2], count - 1, ends_ms, now_ms, tonumber(period_ms), tail)
end

function amount.give_back(keys, receipt, now_us)
  local now_ms = math.floor(now_us / 1000)
  local taken_ms, period_ms, cost = string.match(receipt, '^(%d+):(%d+):(%d+)$')
  local sum, ends_ms, generation = amount.read(keys[1], now_ms)
  if not ends_ms or text_of(ends_ms) ~= taken_ms then
    return
  end
  local rest = limbs_rest(sum, limbs_of(cost))
  -- As with the count, what is given back whole leaves a trace and no period.
  local is_empty = rest[1] == 0 and rest[2] == 0
  local keep_ms = (is_empty and 0 or ends_ms - now_ms) + tonumber(period_ms)
  amount.write(keys[1], rest, is_empty and 0 or ends_ms, generation, keep_ms)
end

function window.give_back(keys, receipt, now_us)
  local now_ms = math.floor(now_us / 1000)
  local at_ms, cost, window_ms, field = string.match(receipt, '^(%d+):(%d+):(%d+):(.+)$')
  at_ms, cost, window_ms = tonumber(at_ms), tonumber(cost), tonumber(window_ms)
  local sheet = sheet_of(keys[1])
  local log = window.read(sheet, field, window_ms, math.max(at_ms, now_ms), now_ms)
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
  window.write(sheet, field, kept)
end

function bucket.give_back(keys, receipt, now_us)
  local cost, capacity, refill, field = string.match(receipt, '^(%d+):(%d+):(%d+):(.+)$')
  cost, capacity, refill = tonumber(cost), tonumber(capacity), tonumber(refill)
  local sheet = sheet_of(keys[1])
  local tokens = bucket.read(sheet, field, capacity, refill, now_us) + cost * MICROSECONDS_PER_TOKEN
  bucket.write(sheet, field, math.min(tokens, capacity), now_us)
end
