-- What is left of `one`; nothing where `other` is more.
local function limbs_rest(one, other)
  if limbs_less(one, other) then
    return { 0, 0 }
  end
  local low = one[2] - other[2]
  return low < 0 and { one[1] - other[1] - 1, low + LIMB } or { one[1] - other[1], low }
end

local function return_amount(keys, receipt, now_us)
  local now_ms = floor(now_us / 1000)
  local taken_ms, period_ms, cost = match(receipt, '^(%d+):(%d+):(%d+)$')
  local sum, ends_ms, generation = read_amount(keys[1], now_ms)
  if not ends_ms or text_of(ends_ms) ~= taken_ms then
    return
  end
  local rest = limbs_rest(sum, limbs_of(cost))
  -- As with the count, what is given back whole leaves a trace and no period.
  local is_empty = rest[1] == 0 and rest[2] == 0
  local keep_ms = (is_empty and 0 or ends_ms - now_ms) + tonumber(period_ms)
  write_amount(keys[1], rest, is_empty and 0 or ends_ms, generation, keep_ms)
end

KINDS.amount = { give_back = return_amount }
