-- Lets a purchase limit begin a new period, or forgets rates. A trace of this generation stays, so that purchases which no reset may
-- change, those of payments, are not counted anew from the SQL record.
-- KEYS: count and record, the one key of an amount, or a sheet of rates. ARGV: "purchase" or "amount", keep_ms, tail of
-- the record; or "rates" and the fields.

if ARGV[1] == 'rates' then
  local sheet = sheet_of(KEYS[1])
  for index = 2, #ARGV do
    set_sheet_value(sheet, NEWLINE .. ARGV[index] .. ' ', nil)
  end
  save_sheets()
  return 1
end

local generation = generation_now()
if ARGV[1] == 'amount' then
  write_amount(KEYS[1], { 0, 0 }, 0, generation, tonumber(ARGV[2]))
else
  local head = '{"currentCount":0,"periodEndTimestamp":0,"generation":"' .. generation .. '",'
  call('DEL', KEYS[1])
  call('SET', KEYS[2], head .. '"lastPurchaseTimestamp":0,' .. ARGV[3], 'PX', ARGV[2])
end
return 1
