-- keys: one. words: max, period_ms, amount, what is known (see periods.lua), boundaries.

local function limbs_sum(one, other)
  local low = one[2] + other[2]
  return { one[1] + other[1] + floor(low / LIMB), low % LIMB }
end

local function check_amount(key, base, now_us)
  local now_ms = floor(now_us / 1000)
  local max, period_ms, cost = limbs_of(ARGV[base + 1]), tonumber(ARGV[base + 2]), limbs_of(ARGV[base + 3])
  local known = ARGV[base + 4]
  local sum, ends_ms, generation = read_amount(KEYS[key], now_ms)
  local here, unknown = '', false
  if known ~= 'trust' then
    here = generation_now()
    local trusted = generation and (here == '' or generation == here)
    unknown = not trusted and known == 'ask'
    local seeded_text, seeded_ends_ms = seeds_of(known)
    if not trusted and seeded_ends_ms > now_ms then
      local seeded = limbs_of(seeded_text)
      sum = limbs_less(sum, seeded) and seeded or sum
      ends_ms = math.max(ends_ms or 0, seeded_ends_ms)
    end
  end
  local next_ms = period_end(now_ms, period_ms, ARGV[base + 5])
  local left_ms = ends_ms and ends_ms - now_ms or 0
  return {
    unknown = unknown, apart = not next_ms,
    ok = not limbs_less(max, limbs_sum(sum, cost)), current = limbs_text(sum), max = ARGV[base + 1],
    retry_ms = left_ms, reset_ms = left_ms, generation = here,
    sum = sum, cost = cost, ends_ms = ends_ms or next_ms, period_ms = period_ms, now_ms = now_ms,
  }
end

local function take_amount(found, key)
  local sum = limbs_sum(found.sum, found.cost)
  write_amount(KEYS[key], sum, found.ends_ms, found.generation, found.ends_ms - found.now_ms + found.period_ms)
  found.current = limbs_text(sum)
  found.reset_ms = found.ends_ms - found.now_ms
end

local function receipt_of_amount(found, base)
  return table.concat({ text_of(found.ends_ms), text_of(found.period_ms), ARGV[base + 3] }, ':')
end

KINDS.amount = {
  name = 'amount', keys = 1, words = 5,
  check = check_amount, take = take_amount, receipt = receipt_of_amount,
}
