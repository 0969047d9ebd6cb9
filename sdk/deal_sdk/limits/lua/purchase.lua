-- purchase: a count that begins with the first purchase and ends a period later, whatever comes in between.
-- keys: count, record.
-- The record outlives its period by another one: where both keys are gone, either nothing was bought for two
-- periods or the store lost its data, and only the SQL record can tell.

-- Returns the count, when its period ends, what shows that there is something, and where in the record its generation is.
local function read_purchase(count_key, record_key, period_ms, now_ms)
  local text = call('GET', count_key)
  local record = call('GET', record_key)
  local ends_text, rest = match(record or '', '^{"currentCount":%d+,"periodEndTimestamp":(%d+),()')
  if not text then
    return 0, nil, record, rest
  end
  local ends_ms = tonumber(ends_text or '')
  if not ends_ms then
    local ttl_ms = call('PTTL', count_key)
    ends_ms = now_ms + (ttl_ms < 0 and period_ms or ttl_ms)
  end
  if ends_ms <= now_ms then
    return 0, nil, record or text, rest
  end
  return number_at(count_key, text), ends_ms, record or text, rest
end

local function write_purchase(count_key, record_key, count, ends_ms, now_ms, record_ms, tail)
  local count_text, left_ms = text_of(count), ends_ms - now_ms
  local head = '{"currentCount":' .. count_text .. ',"periodEndTimestamp":' .. text_of(ends_ms)
  call('SET', count_key, count_text, 'PX', text_of(left_ms))
  call('SET', record_key, head .. tail, 'PX', text_of(left_ms + record_ms))
end
