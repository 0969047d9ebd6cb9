-- What each kind of limit keeps. Prepended to takes.lua and gate.lua, to returns.lua and settle.lua, and to reset.lua.
-- Every number is an integer and is written with %.0f: tostring() of a microsecond epoch gives 1.79e+15.
-- Every state says itself when it ends; the key's TTL only collects garbage, so a TTL that was lost or
-- rounded changes no decision.

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

-- The lineage of the server's data: another one after a restart and after a failover, which may have lost
-- acknowledged writes. Empty where a server does not say, which is then trusted as long as a trace is there.
-- It is asked for once in a call: nothing else runs on the server meanwhile.
local lineage

local function generation_now()
  if not lineage then
    local info = redis.pcall('INFO', 'replication')
    lineage = type(info) == 'string' and string.match(info, 'master_replid:(%w%w%w%w%w%w%w%w%w%w%w%w)') or ''
  end
  return lineage
end

-- purchase: a count that begins with the first purchase and ends a period later, whatever comes in between.
-- keys: count, record. arguments: max, period_ms, tail of the record's JSON, 4 to 6 as above, boundaries.
-- The record outlives its period by another one: where both keys are gone, either nothing was bought for two
-- periods or the store lost its data, and only the SQL record can tell.
local purchase = { name = 'purchase' }

function purchase.read(count_key, record_key, period_ms, now_ms)
  local text = redis.call('GET', count_key)
  local record = redis.call('GET', record_key)
  local ends_text, rest = string.match(record or '', '^{"currentCount":%d+,"periodEndTimestamp":(%d+),()')
  local generation = rest and string.match(record, '^"generation":"(%w*)",', rest)
  if not text then
    return 0, nil, record, generation
  end
  local ends_ms = tonumber(ends_text or '')
  if not ends_ms then
    local ttl_ms = redis.call('PTTL', count_key)
    ends_ms = now_ms + (ttl_ms < 0 and period_ms or ttl_ms)
  end
  if ends_ms <= now_ms then
    return 0, nil, record or text, generation
  end
  return number_at(count_key, text), ends_ms, record or text, generation
end

function purchase.write(count_key, record_key, count, ends_ms, now_ms, record_ms, tail)
  local head = '{"currentCount":' .. text_of(count) .. ',"periodEndTimestamp":' .. text_of(ends_ms)
  redis.call('SET', count_key, text_of(count), 'PX', text_of(ends_ms - now_ms))
  redis.call('SET', record_key, head .. tail, 'PX', text_of(ends_ms - now_ms + record_ms))
end

-- amount: a sum of base units, up to 2^63-1, over the same periods. Lua's numbers are exact to 2^53 only, so an
-- amount is two limbs of nine digits and travels as text.
-- keys: one. arguments: max, period_ms, amount, 4 to 6 as above, boundaries. The value: "sum ends_ms generation".
local amount = { name = 'amount' }
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

-- All rates of a user are lines of one text, "field value", so that a call reads and writes them once and a reset is
-- one DEL. It is kept from the latest hit for as long as any of them lasts.
local RATES_KEPT_MS = 61000
local NEWLINE = '\n'
local sheets = {}

local function sheet_of(key)
  local sheet = sheets[key]
  if not sheet then
    sheet = { key = key, text = redis.call('GET', key) or NEWLINE }
    if string.sub(sheet.text, 1, 1) ~= NEWLINE then
      error('the value at ' .. key .. ' is no sheet')
    end
    sheets[key] = sheet
  end
  return sheet
end

local function sheet_value(sheet, field)
  local _, before = string.find(sheet.text, NEWLINE .. field .. ' ', 1, true)
  return before and string.sub(sheet.text, before + 1, string.find(sheet.text, NEWLINE, before, true) - 1)
end

-- Puts a line in place of the one that is there; without a value the line goes.
local function set_sheet_value(sheet, field, value)
  local text, line = sheet.text, value and NEWLINE .. field .. ' ' .. value or ''
  local first, before = string.find(text, NEWLINE .. field .. ' ', 1, true)
  if first then
    sheet.text = string.sub(text, 1, first - 1) .. line .. string.sub(text, string.find(text, NEWLINE, before, true), -1)
  elseif value then
    sheet.text = string.sub(text, 1, -2) .. line .. NEWLINE
  end
  sheet.changed = true
end

local function save_sheets()
  for key, sheet in pairs(sheets) do
    if sheet.changed and sheet.text == NEWLINE then
      redis.call('DEL', key)
    elseif sheet.changed then
      redis.call('SET', key, sheet.text, 'PX', RATES_KEPT_MS)
    end
    sheet.changed = false
  end
end

-- window: a log of hits. A hit is noted at the end of its granule and counts for window_ms from there, so
-- never more than `max` fall into any window, and none is held back longer than one granule too long.
-- The log: the first time, then for each further one the units since the one before; "~" and a number after a time
-- say that it stands for so many hits. A number ends with one of 80 characters, and begins with some of 13 others.
local window = { name = 'window' }
local UNIT_MS = 20
local FINAL, FINALS, LEADING, LEADINGS, HITS = 33, 80, 113, 13, 126

local function digits_of(number)
  local text = string.char(FINAL + number % FINALS)
  number = math.floor(number / FINALS)
  while number > 0 do
    text = string.char(LEADING + number % LEADINGS) .. text
    number = math.floor(number / LEADINGS)
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
function window.read(sheet, field, window_ms, latest_ms, now_ms)
  local text = sheet_value(sheet, field)
  if not text then
    return { ats = {}, hits = {}, count = 0 }
  end
  local at_text, body = string.match(text, '^(%d+) (.*)$')
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
  local log = { ats = ats, hits = hits, body = first and string.sub(body, first, last - 1) }
  if length > 0 and at_ms > latest_ms then
    log = without_future(log, window_ms, latest_ms)
  end
  log.count = 0
  for _, hits_there in ipairs(log.hits) do
    log.count = log.count + hits_there
  end
  return log
end

-- Writes all but the hits of the last.
local function body_of(log)
  local parts = {}
  for index = 2, #log.ats do
    parts[#parts + 1] = hits_text(log.hits[index - 1])
    parts[#parts + 1] = digits_of((log.ats[index] - log.ats[index - 1]) / UNIT_MS)
  end
  return table.concat(parts)
end

function window.write(sheet, field, log)
  local length = #log.ats
  if length == 0 then
    set_sheet_value(sheet, field, nil)
    return
  end
  local body = log.body or body_of(log)
  set_sheet_value(sheet, field, text_of(log.ats[1]) .. ' ' .. body .. hits_text(log.hits[length]))
end

-- bucket: micro-tokens and the microsecond they were counted at. Tokens per second times microseconds is
-- micro-tokens, so a refill loses no fraction. A bucket without a line is full.
local bucket = { name = 'bucket' }
local MICROSECONDS_PER_TOKEN = 1000000

function bucket.read(sheet, field, capacity, refill, now_us)
  local text = sheet_value(sheet, field)
  if not text then
    return capacity
  end
  local tokens, counted_us = string.match(text, '^(%d+) (%d+)$')
  tokens = math.min(number_at(sheet.key, tokens), capacity)
  local elapsed_us = now_us - number_at(sheet.key, counted_us)
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

function bucket.write(sheet, field, tokens, now_us)
  set_sheet_value(sheet, field, text_of(tokens) .. ' ' .. text_of(now_us))
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
