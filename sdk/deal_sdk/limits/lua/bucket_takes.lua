-- keys: the sheet. words: field, capacity, refill_per_second, cost (whole tokens).

local function check_bucket(key, base, now_us)
  local max, refill, cost = tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3]), tonumber(ARGV[base + 4])
  local capacity, sheet = max * MICROSECONDS_PER_TOKEN, sheet_of(KEYS[key])
  local mark = NEWLINE .. ARGV[base + 1] .. ' '
  local tokens = read_bucket(sheet, mark, capacity, refill, now_us)
  local missing = cost * MICROSECONDS_PER_TOKEN - tokens
  return {
    ok = missing <= 0, cost = cost, max = max,
    current = max - floor(tokens / MICROSECONDS_PER_TOKEN),
    retry_ms = missing > 0 and ceil(ceil(missing / refill) / 1000) or 0,
    reset_ms = ceil((capacity - tokens) / refill / 1000),
    sheet = sheet, mark = mark, tokens = tokens, capacity = capacity, refill = refill, now_us = now_us,
  }
end

local function take_bucket(found)
  local tokens = found.tokens - found.cost * MICROSECONDS_PER_TOKEN
  write_bucket(found.sheet, found.mark, tokens, found.now_us)
  found.current = found.current + found.cost
  found.reset_ms = ceil((found.capacity - tokens) / found.refill / 1000)
end

local function receipt_of_bucket(found, base)
  local words = { text_of(found.cost), text_of(found.capacity), text_of(found.refill), ARGV[base + 1] }
  return table.concat(words, ':')
end

KINDS.bucket = {
  name = 'bucket', keys = 1, words = 4,
  check = check_bucket, take = take_bucket, receipt = receipt_of_bucket,
}
