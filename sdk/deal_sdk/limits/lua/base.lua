-- What every script of limits needs. A script is put together of the kinds of limits that it is asked about, because
-- Redis makes each of its functions anew at every call: base, then of each kind its state and what takes or returns
-- a hit, then what runs.
-- Every number is an integer of at most 53 bits and is written by text_of: tostring() of a microsecond epoch gives
-- 1.79e+15. Every state says itself when it ends; the key's TTL only collects garbage, so a TTL that was lost or
-- rounded changes no decision.

local call, ceil, floor, tonumber = redis.call, math.ceil, math.floor, tonumber
local find, format, match, sub = string.find, string.format, string.match, string.sub

-- The kinds of limits that this script was put together of, by name, and what writes the changes that some gather.
local KINDS, save_sheets = {}, nil

local function text_of(number)
  return format('%d', number)
end

-- A given time comes from a test's clock; else the server's own, because clients' clocks disagree.
local function microseconds_now(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function number_at(key, text)
  local number = tonumber(text)
  if not number then
    error('the value at ' .. key .. ' is no number')
  end
  return number
end
