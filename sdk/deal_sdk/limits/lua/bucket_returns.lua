local function return_bucket(keys, receipt, now_us)
  local cost, capacity, refill, field = match(receipt, '^(%d+):(%d+):(%d+):(.+)$')
  cost, capacity, refill = tonumber(cost), tonumber(capacity), tonumber(refill)
  local sheet, mark = sheet_of(keys[1]), NEWLINE .. field .. ' '
  local tokens = read_bucket(sheet, mark, capacity, refill, now_us) + cost * MICROSECONDS_PER_TOKEN
  write_bucket(sheet, mark, math.min(tokens, capacity), now_us)
end

KINDS.bucket = { give_back = return_bucket }
