-- amount: a sum of base units, up to 2^63-1, over the same periods as a count. Lua's numbers are exact to 2^53 only,
-- so an amount is two limbs of nine digits and travels as text.
-- keys: one. The value: "sum ends_ms generation".
local LIMB = 1000000000

local function limbs_of(text)
  if not match(text, '^%d+$') then
    error('an amount is no number')
  end
  if #text <= 9 then
    return { 0, tonumber(text) }
  end
  return { tonumber(sub(text, 1, -10)), tonumber(sub(text, -9)) }
end

local function limbs_text(limbs)
  return limbs[1] > 0 and format('%d%09d', limbs[1], limbs[2]) or text_of(limbs[2])
end

local function limbs_less(one, other)
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end

local function read_amount(key, now_ms)
  local text = call('GET', key)
  if not text then
    return { 0, 0 }, nil, nil
  end
  local sum, ends_ms, generation = match(text, '^(%d+) (%d+) (%w*)$')
  ends_ms = number_at(key, ends_ms)
  if ends_ms <= now_ms then
    return { 0, 0 }, nil, generation
  end
  return limbs_of(sum), ends_ms, generation
end

local function write_amount(key, sum, ends_ms, generation, keep_ms)
  call('SET', key, limbs_text(sum) .. ' ' .. text_of(ends_ms) .. ' ' .. generation, 'PX', text_of(keep_ms))
end
