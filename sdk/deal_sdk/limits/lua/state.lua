-- What each kind of limit keeps, and how one hit is taken and given back. Prepended to gate.lua, settle.lua and reset.lua.
-- Every number is an integer and is written with %.0f: tostring() of a microsecond epoch gives 1.79e+15.
-- Every state says itself when it ends; the key's TTL only collects garbage, so a TTL that was lost or
-- rounded changes no decision.

local MICROSECONDS_PER_TOKEN = 1000000
local BUCKET_MARGIN_MS = 1000

local function text_of(number)
  return string.format('%.0f', number)
end

-- A given time comes from a test's clock; else the server's own, because clients' clocks disagree.
local function microseconds_now(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function number_at(key, text)
  local number = tonumber(text)
  if not number then
    error('the value at ' .. key .. ' is no number')
  end
  return number
end

-- All rates of a user are fields of one hash, so that a reset is one DEL. It lives as long as its last field.
local function keep_for(key, left_ms)
  if redis.call('PTTL', key) < left_ms then
    redis.call('PEXPIRE', key, text_of(left_ms))
  end
end

-- The lineage of the server's data: another one after a restart and after a failover, which may have lost
-- acknowledged writes. Empty where a server does not say, which is then trusted as long as a trace is there.
local function generation_now()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%w%w%w%w%w%w%w%w%w%w%w%w)') or ''
end

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
local function is_known(arguments, trace, generation, generation_here)
  return arguments[4] == 'trust' or (trace and (generation_here == '' or generation == generation_here))
end

-- purchase: a count that begins with the first purchase and ends a period later, whatever comes in between.
-- keys: count, record. arguments: max, period_ms, tail of the record's JSON, 4 to 6 as above, boundaries.
-- The record outlives its period by another one: where both keys are gone, either nothing was bought for two
-- periods or the store lost its data, and only the SQL record can tell.
local purchase = {}

function purchase.read(keys, period_ms, now_ms)
  local text = redis.call('GET', keys[1])
  local record = redis.call('GET', keys[2])
  local generation = record and string.match(record, '^{"currentCount":%d+,"periodEndTimestamp":%d+,"generation":"(%w*)",')
  if not text then
    return 0, nil, record, generation
  end
  local ends_ms = record and string.match(record, '^{"currentCount":%d+,"periodEndTimestamp":(%d+),')
  ends_ms = ends_ms and tonumber(ends_ms)
  if not ends_ms then
    local ttl_ms = redis.call('PTTL', keys[1])
    ends_ms = now_ms + (ttl_ms < 0 and period_ms or ttl_ms)
  end
  if ends_ms <= now_ms then
    return 0, nil, record or text, generation
  end
  return number_at(keys[1], text), ends_ms, record or text, generation
end

function purchase.write(keys, count, ends_ms, now_ms, record_ms, tail)
  local head = '{"currentCount":' .. text_of(count) .. ',"periodEndTimestamp":' .. text_of(ends_ms)
  redis.call('SET', keys[1], text_of(count), 'PX', text_of(ends_ms - now_ms))
  redis.call('SET', keys[2], head .. tail, 'PX', text_of(ends_ms - now_ms + record_ms))
end

function purchase.check(keys, arguments, now_us)
  local now_ms = math.floor(now_us / 1000)
  local max, period_ms = tonumber(arguments[1]), tonumber(arguments[2])
  local count, ends_ms, trace, generation = purchase.read(keys, period_ms, now_ms)
  local generation_here = arguments[4] ~= 'trust' and generation_now() or ''
  local known = is_known(arguments, trace, generation, generation_here)
  local seeded_ends_ms = tonumber(arguments[6])
  if not known and seeded_ends_ms > now_ms then
    count, ends_ms = math.max(count, tonumber(arguments[5])), math.max(ends_ms or 0, seeded_ends_ms)
  end
  local next_ms = period_end(now_ms, period_ms, arguments[7])
  local left_ms = ends_ms and ends_ms - now_ms or 0
  return {
    unknown = not known and arguments[4] == 'ask', apart = not next_ms,
    ok = count < max, current = count, max = max, cost = 1,
    retry_ms = left_ms, reset_ms = left_ms, generation = generation_here,
    count = count, ends_ms = ends_ms or next_ms, period_ms = period_ms,
  }
end

function purchase.take(found, keys, arguments, now_us)
  local now_ms = math.floor(now_us / 1000)
  local generation = found.generation ~= '' and ',"generation":"' .. found.generation .. '"' or ''
  local tail = generation .. ',"lastPurchaseTimestamp":' .. text_of(now_ms) .. ',' .. arguments[3]
  purchase.write(keys, found.count + 1, found.ends_ms, now_ms, found.period_ms, tail)
  found.current = found.count + 1
  found.reset_ms = found.ends_ms - now_ms
  return text_of(found.ends_ms) .. ':' .. text_of(found.period_ms)
end

-- Only into the period that it was taken from: a later period owes it nothing.
function purchase.give_back(keys, receipt, now_us)
  local now_ms = math.floor(now_us / 1000)
  local taken_ms, period_ms = string.match(receipt, '^(%d+):(%d+)$')
  local count, ends_ms, record = purchase.read(keys, 0, now_ms)
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
  purchase.write(keys, count - 1, ends_ms, now_ms, tonumber(period_ms), tail)
end

-- amount: a sum of base units, up to 2^63-1, over the same periods. Lua's numbers are exact to 2^53 only, so an
-- amount is two limbs of nine digits and travels as text.
-- keys: one. arguments: max, period_ms, amount, 4 to 6 as above, boundaries. The value: "sum ends_ms generation".
local amount = {}
local LIMB = 1000000000

local function limbs_of(text)
  if not string.match(text, '^%d+$') then
    error('an amount is no number')
  end
  if #text <= 9 then
    return { 0, tonumber(text) }
  end
  return { tonumber(string.sub(text, 1, -10)), tonumber(string.sub(text, -9)) }
end

local function limbs_text(limbs)
  return limbs[1] > 0 and string.format('%.0f%09.0f', limbs[1], limbs[2]) or text_of(limbs[2])
end

local function limbs_sum(one, other)
  local low = one[2] + other[2]
  return { one[1] + other[1] + math.floor(low / LIMB), low % LIMB }
end

local function limbs_less(one, other)
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end

-- What is left of `one`; nothing where `other` is more.
local function limbs_rest(one, other)
  if limbs_less(one, other) then
    return { 0, 0 }
  end
  local low = one[2] - other[2]
  return low < 0 and { one[1] - other[1] - 1, low + LIMB } or { one[1] - other[1], low }
end

function amount.read(key, now_ms)
  local text = redis.call('GET', key)
  if not text then
    return { 0, 0 }, nil, nil
  end
  local sum, ends_ms, generation = string.match(text, '^(%d+) (%d+) (%w*)$')
  ends_ms = number_at(key, ends_ms)
  if ends_ms <= now_ms then
    return { 0, 0 }, nil, generation
  end
  return limbs_of(sum), ends_ms, generation
end

function amount.write(key, sum, ends_ms, generation, keep_ms)
  redis.call('SET', key, limbs_text(sum) .. ' ' .. text_of(ends_ms) .. ' ' .. generation, 'PX', text_of(keep_ms))
end

function amount.check(keys, arguments, now_us)
  local now_ms = math.floor(now_us / 1000)
  local max, period_ms, cost = limbs_of(arguments[1]), tonumber(arguments[2]), limbs_of(arguments[3])
  local sum, ends_ms, generation = amount.read(keys[1], now_ms)
  local generation_here = arguments[4] ~= 'trust' and generation_now() or ''
  local known = is_known(arguments, generation, generation, generation_here)
  local seeded_ends_ms = tonumber(arguments[6])
  if not known and seeded_ends_ms > now_ms then
    local seeded = limbs_of(arguments[5])
    sum = limbs_less(sum, seeded) and seeded or sum
    ends_ms = math.max(ends_ms or 0, seeded_ends_ms)
  end
  local next_ms = period_end(now_ms, period_ms, arguments[7])
  local left_ms = ends_ms and ends_ms - now_ms or 0
  return {
    unknown = not known and arguments[4] == 'ask', apart = not next_ms,
    ok = not limbs_less(max, limbs_sum(sum, cost)), current = limbs_text(sum), max = arguments[1],
    retry_ms = left_ms, reset_ms = left_ms, generation = generation_here,
    sum = sum, cost = cost, ends_ms = ends_ms or next_ms, period_ms = period_ms,
  }
end

function amount.take(found, keys, arguments, now_us)
  local now_ms = math.floor(now_us / 1000)
  local sum = limbs_sum(found.sum, found.cost)
  amount.write(keys[1], sum, found.ends_ms, found.generation, found.ends_ms - now_ms + found.period_ms)
  found.current = limbs_text(sum)
  found.reset_ms = found.ends_ms - now_ms
  return table.concat({ text_of(found.ends_ms), text_of(found.period_ms), arguments[3] }, ':')
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

-- window: a log of hits. A hit is noted at the end of its granule and counts for window_ms from there, so
-- never more than `max` fall into any window, and none is held back longer than one granule too long.
-- keys: hash. arguments: field, max, window_ms, granule_ms, cost.
-- The log: the first time in full, then differences; "600:3" is three hits 600 ms after the one before.
local window = {}

function window.read(key, field, window_ms, latest_ms, now_ms)
  local entries, count, at_ms = {}, 0, 0
  for difference, hits in string.gmatch(redis.call('HGET', key, field) or '', '(%d+):?(%d*)') do
    at_ms = at_ms + tonumber(difference)
    -- A time in the future means that the server's clock went back. A little back, and it counts as now; by more
    -- than a window, and it is forgotten, or it would refuse until the clock is there again.
    local noted_ms = math.min(at_ms, latest_ms)
    if noted_ms + window_ms > now_ms and at_ms - latest_ms <= window_ms then
      hits = tonumber(hits) or 1
      entries[#entries + 1] = { at_ms = noted_ms, hits = hits }
      count = count + hits
    end
  end
  return entries, count
end

function window.write(key, field, entries, window_ms, now_ms)
  if #entries == 0 then
    redis.call('HDEL', key, field)
    return
  end
  local parts, before_ms = {}, 0
  for index, entry in ipairs(entries) do
    local difference = text_of(entry.at_ms - before_ms)
    parts[index] = entry.hits == 1 and difference or difference .. ':' .. text_of(entry.hits)
    before_ms = entry.at_ms
  end
  redis.call('HSET', key, field, table.concat(parts, ' '))
  keep_for(key, before_ms + window_ms - now_ms)
end

function window.check(keys, arguments, now_us)
  local now_ms = math.floor(now_us / 1000)
  local field, max, window_ms = arguments[1], tonumber(arguments[2]), tonumber(arguments[3])
  local granule_ms, cost = tonumber(arguments[4]), tonumber(arguments[5])
  local noted_ms = math.ceil(now_us / 1000 / granule_ms) * granule_ms
  local entries, count = window.read(keys[1], field, window_ms, noted_ms, now_ms)
  local retry_ms, excess = 0, count + cost - max
  for _, entry in ipairs(entries) do
    if excess <= 0 then
      break
    end
    excess = excess - entry.hits
    retry_ms = entry.at_ms + window_ms - now_ms
  end
  return {
    ok = count + cost <= max, current = count, max = max, cost = cost, retry_ms = retry_ms,
    reset_ms = #entries > 0 and entries[#entries].at_ms + window_ms - now_ms or 0,
    entries = entries, noted_ms = noted_ms, window_ms = window_ms,
  }
end

function window.take(found, keys, arguments, now_us)
  local last = found.entries[#found.entries]
  if last and last.at_ms == found.noted_ms then
    last.hits = last.hits + found.cost
  else
    found.entries[#found.entries + 1] = { at_ms = found.noted_ms, hits = found.cost }
  end
  found.current = found.current + found.cost
  local now_ms = math.floor(now_us / 1000)
  window.write(keys[1], arguments[1], found.entries, found.window_ms, now_ms)
  found.reset_ms = found.noted_ms + found.window_ms - now_ms
  return table.concat({ text_of(found.noted_ms), text_of(found.cost), text_of(found.window_ms), arguments[1] }, ':')
end

function window.give_back(keys, receipt, now_us)
  local now_ms = math.floor(now_us / 1000)
  local at_ms, cost, window_ms, field = string.match(receipt, '^(%d+):(%d+):(%d+):(.+)$')
  at_ms, cost, window_ms = tonumber(at_ms), tonumber(cost), tonumber(window_ms)
  local entries = window.read(keys[1], field, window_ms, math.max(at_ms, now_ms), now_ms)
  local kept = {}
  for _, entry in ipairs(entries) do
    if entry.at_ms == at_ms then
      entry.hits = entry.hits - math.min(cost, entry.hits)
    end
    if entry.hits > 0 then
      kept[#kept + 1] = entry
    end
  end
  window.write(keys[1], field, kept, window_ms, now_ms)
end

-- bucket: micro-tokens and the microsecond they were counted at. Tokens per second times microseconds is
-- micro-tokens, so a refill loses no fraction. A bucket without a field is full.
-- keys: hash. arguments: field, capacity, refill_per_second, cost (whole tokens).
local bucket = {}

function bucket.read(key, field, capacity, refill, now_us)
  local text = redis.call('HGET', key, field)
  if not text then
    return capacity
  end
  local tokens, counted_us = string.match(text, '^(%d+) (%d+)$')
  tokens = math.min(number_at(key, tokens), capacity)
  local elapsed_us = now_us - number_at(key, counted_us)
  -- As in a window: when the clock went back by more than a bucket takes to fill, it is full.
  if -elapsed_us > math.ceil(capacity / refill) then
    return capacity
  end
  elapsed_us = math.max(elapsed_us, 0)
  -- Compared before it is multiplied, so that a long absence cannot leave the exact integers.
  if elapsed_us >= math.ceil((capacity - tokens) / refill) then
    return capacity
  end
  return tokens + elapsed_us * refill
end

function bucket.write(key, field, tokens, capacity, refill, now_us)
  redis.call('HSET', key, field, text_of(tokens) .. ' ' .. text_of(now_us))
  keep_for(key, math.ceil((capacity - tokens) / refill / 1000) + BUCKET_MARGIN_MS)
end

function bucket.check(keys, arguments, now_us)
  local max, refill, cost = tonumber(arguments[2]), tonumber(arguments[3]), tonumber(arguments[4])
  local capacity = max * MICROSECONDS_PER_TOKEN
  local tokens = bucket.read(keys[1], arguments[1], capacity, refill, now_us)
  local missing = cost * MICROSECONDS_PER_TOKEN - tokens
  return {
    ok = missing <= 0, cost = cost, max = max,
    current = max - math.floor(tokens / MICROSECONDS_PER_TOKEN),
    retry_ms = missing > 0 and math.ceil(math.ceil(missing / refill) / 1000) or 0,
    reset_ms = math.ceil((capacity - tokens) / refill / 1000),
    tokens = tokens, capacity = capacity, refill = refill,
  }
end

function bucket.take(found, keys, arguments, now_us)
  local tokens = found.tokens - found.cost * MICROSECONDS_PER_TOKEN
  bucket.write(keys[1], arguments[1], tokens, found.capacity, found.refill, now_us)
  found.current = found.current + found.cost
  found.reset_ms = math.ceil((found.capacity - tokens) / found.refill / 1000)
  return table.concat({ text_of(found.cost), text_of(found.capacity), text_of(found.refill), arguments[1] }, ':')
end

function bucket.give_back(keys, receipt, now_us)
  local cost, capacity, refill, field = string.match(receipt, '^(%d+):(%d+):(%d+):(.+)$')
  cost, capacity, refill = tonumber(cost), tonumber(capacity), tonumber(refill)
  local tokens = bucket.read(keys[1], field, capacity, refill, now_us) + cost * MICROSECONDS_PER_TOKEN
  bucket.write(keys[1], field, math.min(tokens, capacity), capacity, refill, now_us)
end

local KINDS = { purchase = purchase, amount = amount, window = window, bucket = bucket }

-- A reservation: state, fingerprint and end, then for each limit its kind, its keys and its receipt; a line each.
-- One whose limits lie in several slots has its parts there, and a line "elsewhere" that names their users.
local function read_reservation(key, now_us)
  local text = redis.call('GET', key)
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
