-- keys: count, record. words: max, period_ms, tail of the record's JSON, what is known (see periods.lua), boundaries.

local function check_purchase(key, base, now_us)
  local now_ms = floor(now_us / 1000)
  local max, period_ms, known = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), ARGV[base + 4]
  local count, ends_ms, trace, rest = read_purchase(KEYS[key], KEYS[key + 1], period_ms, now_ms)
  local here, unknown = '', false
  if known ~= 'trust' then
    here = generation_now()
    local trusted = trace and (here == '' or (rest and match(trace, '^"generation":"(%w*)",', rest)) == here)
    unknown = not trusted and known == 'ask'
    local seeded, seeded_ends_ms = seeds_of(known)
    if not trusted and seeded_ends_ms > now_ms then
      count, ends_ms = math.max(count, tonumber(seeded)), math.max(ends_ms or 0, seeded_ends_ms)
    end
  end
  local next_ms = period_end(now_ms, period_ms, ARGV[base + 5])
  local left_ms = ends_ms and ends_ms - now_ms or 0
  return {
    unknown = unknown, apart = not next_ms,
    ok = count < max, current = count, max = max,
    retry_ms = left_ms, reset_ms = left_ms, generation = here,
    ends_ms = ends_ms or next_ms, period_ms = period_ms, now_ms = now_ms,
  }
end

local function take_purchase(found, key, base)
  local generation = found.generation ~= '' and ',"generation":"' .. found.generation .. '"' or ''
  local tail = generation .. ',"lastPurchaseTimestamp":' .. text_of(found.now_ms) .. ',' .. ARGV[base + 3]
  local count = found.current + 1
  write_purchase(KEYS[key], KEYS[key + 1], count, found.ends_ms, found.now_ms, found.period_ms, tail)
  found.current = count
  found.reset_ms = found.ends_ms - found.now_ms
end

local function receipt_of_purchase(found)
  return text_of(found.ends_ms) .. ':' .. text_of(found.period_ms)
end

KINDS.purchase = {
  name = 'purchase', keys = 2, words = 5,
  check = check_purchase, take = take_purchase, receipt = receipt_of_purchase,
}
