-- How one hit of each kind is checked and taken. Between state.lua and gate.lua.
-- A limit's keys stand in KEYS from `key` on, its arguments in ARGV behind `base`; a receipt says what to give back.

-- When a period that begins now ends. Calendar boundaries come from the client, which knows time zones: they
-- cover more than a day around its time; where the server's time is not among them, nothing can be said.
local function period_end(now_ms, period_ms, boundaries)
  if boundaries == '' then
    return now_ms + period_ms
  end
  local begun = false
  for text in string.gmatch(boundaries, '%d+') do
    local boundary_ms = tonumber(text)
    if boundary_ms > now_ms then
      return begun and boundary_ms or nil
    end
    begun = true
  end
  return nil
end

-- What a purchase limit goes on from: its own state where that is of this generation; else the SQL record must
-- have been asked, and the larger of both counts. arguments 4 to 6: "trust" (there is no SQL record), "ask" or
-- "seeded"; count and end of the running period as the SQL record knows it (0 and 0 for none).
local function is_known(base, trace, generation, generation_here)
  return ARGV[base + 4] == 'trust' or (trace and (generation_here == '' or generation == generation_here))
end

-- keys: count, record. arguments: max, period_ms, tail of the record's JSON, 4 to 6 as above, boundaries.
function purchase.check(key, base, now_us)
  local now_ms = math.floor(now_us / 1000)
  local max, period_ms = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
  local count, ends_ms, trace, generation = purchase.read(KEYS[key], KEYS[key + 1], period_ms, now_ms)
  local generation_here = ARGV[base + 4] ~= 'trust' and generation_now() or ''
  local known = is_known(base, trace, generation, generation_here)
  local seeded_ends_ms = tonumber(ARGV[base + 6])
  if not known and seeded_ends_ms > now_ms then
    count, ends_ms = math.max(count, tonumber(ARGV[base + 5])), math.max(ends_ms or 0, seeded_ends_ms)
  end
  local next_ms = period_end(now_ms, period_ms, ARGV[base + 7])
  local left_ms = ends_ms and ends_ms - now_ms or 0
  return {
    kind = purchase,
    unknown = not known and ARGV[base + 4] == 'ask', apart = not next_ms,
    ok = count < max, current = count, max = max,
    retry_ms = left_ms, reset_ms = left_ms, generation = generation_here,
    ends_ms = ends_ms or next_ms, period_ms = period_ms, now_ms = now_ms,
  }
end

function purchase.take(found, key, base)
  local generation = found.generation ~= '' and ',"generation":"' .. found.generation .. '"' or ''
  local tail = generation .. ',"lastPurchaseTimestamp":' .. text_of(found.now_ms) .. ',' .. ARGV[base + 3]
  local count = found.current + 1
  purchase.write(KEYS[key], KEYS[key + 1], count, found.ends_ms, found.now_ms, found.period_ms, tail)
  found.current = count
  found.reset_ms = found.ends_ms - found.now_ms
end

function purchase.receipt(found)
  return text_of(found.ends_ms) .. ':' .. text_of(found.period_ms)
end

-- keys: one. arguments: max, period_ms, amount, 4 to 6 as above, boundaries.
function amount.check(key, base, now_us)
  local now_ms = math.floor(now_us / 1000)
  local max, period_ms, cost = limbs_of(ARGV[base + 1]), tonumber(ARGV[base + 2]), limbs_of(ARGV[base + 3])
  local sum, ends_ms, generation = amount.read(KEYS[key], now_ms)
  local generation_here = ARGV[base + 4] ~= 'trust' and generation_now() or ''
  local known = is_known(base, generation, generation, generation_here)
  local seeded_ends_ms = tonumber(ARGV[base + 6])
  if not known and seeded_ends_ms > now_ms then
    local seeded = limbs_of(ARGV[base + 5])
    sum = limbs_less(sum, seeded) and seeded or sum
    ends_ms = math.max(ends_ms or 0, seeded_ends_ms)
  end
  local next_ms = period_end(now_ms, period_ms, ARGV[base + 7])
  local left_ms = ends_ms and ends_ms - now_ms or 0
  return {
    kind = amount,
    unknown = not known and ARGV[base + 4] == 'ask', apart = not next_ms,
    ok = not limbs_less(max, limbs_sum(sum, cost)), current = limbs_text(sum), max = ARGV[base + 1],
    retry_ms = left_ms, reset_ms = left_ms, generation = generation_here,
    sum = sum, cost = cost, ends_ms = ends_ms or next_ms, period_ms = period_ms, now_ms = now_ms,
  }
end

function amount.take(found, key)
  local sum = limbs_sum(found.sum, found.cost)
  amount.write(KEYS[key], sum, found.ends_ms, found.generation, found.ends_ms - found.now_ms + found.period_ms)
  found.current = limbs_text(sum)
  found.reset_ms = found.ends_ms - found.now_ms
end

function amount.receipt(found, base)
  return table.concat({ text_of(found.ends_ms), text_of(found.period_ms), ARGV[base + 3] }, ':')
end

-- keys: the sheet. arguments: field, max, window_ms, granule_ms (of whole units), cost.
function window.check(key, base, now_us)
  local now_ms = math.floor(now_us / 1000)
  local max, window_ms = tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local granule_ms, cost = tonumber(ARGV[base + 4]), tonumber(ARGV[base + 5])
  local noted_ms = math.ceil(now_us / 1000 / granule_ms) * granule_ms
  local sheet = sheet_of(KEYS[key])
  local log = window.read(sheet, ARGV[base + 1], window_ms, noted_ms, now_ms)
  local retry_ms, excess, length = 0, log.count + cost - max, #log.ats
  for index = 1, length do
    if excess <= 0 then
      break
    end
    excess = excess - log.hits[index]
    retry_ms = log.ats[index] + window_ms - now_ms
  end
  return {
    kind = window,
    ok = log.count + cost <= max, current = log.count, max = max, cost = cost, retry_ms = retry_ms,
    reset_ms = length > 0 and log.ats[length] + window_ms - now_ms or 0,
    sheet = sheet, log = log, noted_ms = noted_ms, window_ms = window_ms, now_ms = now_ms,
  }
end

function window.take(found, key, base)
  local log = found.log
  local length, noted_ms = #log.ats, found.noted_ms
  if length > 0 and log.ats[length] == noted_ms then
    log.hits[length] = log.hits[length] + found.cost
  else
    if log.body then
      local since_last = (noted_ms - log.ats[length]) / UNIT_MS
      log.body = log.body .. hits_text(log.hits[length]) .. digits_of(since_last)
    end
    log.ats[length + 1], log.hits[length + 1] = noted_ms, found.cost
  end
  window.write(found.sheet, ARGV[base + 1], log)
  found.current = found.current + found.cost
  found.reset_ms = noted_ms + found.window_ms - found.now_ms
end

function window.receipt(found, base)
  local words = { text_of(found.noted_ms), text_of(found.cost), text_of(found.window_ms), ARGV[base + 1] }
  return table.concat(words, ':')
end

-- keys: the sheet. arguments: field, capacity, refill_per_second, cost (whole tokens).
function bucket.check(key, base, now_us)
  local max, refill, cost = tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3]), tonumber(ARGV[base + 4])
  local capacity, sheet = max * MICROSECONDS_PER_TOKEN, sheet_of(KEYS[key])
  local tokens = bucket.read(sheet, ARGV[base + 1], capacity, refill, now_us)
  local missing = cost * MICROSECONDS_PER_TOKEN - tokens
  return {
    kind = bucket,
    ok = missing <= 0, cost = cost, max = max,
    current = max - math.floor(tokens / MICROSECONDS_PER_TOKEN),
    retry_ms = missing > 0 and math.ceil(math.ceil(missing / refill) / 1000) or 0,
    reset_ms = math.ceil((capacity - tokens) / refill / 1000),
    sheet = sheet, tokens = tokens, capacity = capacity, refill = refill, now_us = now_us,
  }
end

function bucket.take(found, key, base)
  local tokens = found.tokens - found.cost * MICROSECONDS_PER_TOKEN
  bucket.write(found.sheet, ARGV[base + 1], tokens, found.now_us)
  found.current = found.current + found.cost
  found.reset_ms = math.ceil((found.capacity - tokens) / found.refill / 1000)
end

function bucket.receipt(found, base)
  local words = { text_of(found.cost), text_of(found.capacity), text_of(found.refill), ARGV[base + 1] }
  return table.concat(words, ':')
end
