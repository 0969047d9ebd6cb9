-- bucket: micro-tokens and the microsecond they were counted at. Tokens per second times microseconds is
-- micro-tokens, so a refill loses no fraction. A bucket without a line is full.
local MICROSECONDS_PER_TOKEN = 1000000

local function read_bucket(sheet, mark, capacity, refill, now_us)
  local text = sheet_value(sheet, mark)
  if not text then
    return capacity
  end
  local tokens, counted_us = match(text, '^(%d+) (%d+)$')
  tokens = math.min(number_at(sheet.key, tokens), capacity)
  local elapsed_us = now_us - number_at(sheet.key, counted_us)
  -- As in a window: when the clock went back by more than a bucket takes to fill, it is full.
  if -elapsed_us > ceil(capacity / refill) then
    return capacity
  end
  elapsed_us = math.max(elapsed_us, 0)
  -- Compared before it is multiplied, so that a long absence cannot leave the exact integers.
  if elapsed_us >= ceil((capacity - tokens) / refill) then
    return capacity
  end
  return tokens + elapsed_us * refill
end

local function write_bucket(sheet, mark, tokens, now_us)
  set_sheet_value(sheet, mark, text_of(tokens) .. ' ' .. text_of(now_us))
end
