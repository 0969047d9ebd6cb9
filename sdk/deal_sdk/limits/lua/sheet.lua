-- All rates of a user are lines of one text, "field value", so that a call reads and writes them once and a reset is
-- one DEL. It is kept from the latest hit for as long as any of them lasts. A line is found by its mark: the line end
-- before it, its field and a space.
local RATES_KEPT_MS = '61000'
local NEWLINE = '\n'
local sheets = {}

local function sheet_of(key)
  local sheet = sheets[key]
  if not sheet then
    sheet = { key = key, text = call('GET', key) or NEWLINE, changed = false }
    if sub(sheet.text, 1, 1) ~= NEWLINE then
      error('the value at ' .. key .. ' is no sheet')
    end
    sheets[key] = sheet
  end
  return sheet
end

local function sheet_value(sheet, mark)
  local _, before = find(sheet.text, mark, 1, true)
  return before and sub(sheet.text, before + 1, find(sheet.text, NEWLINE, before, true) - 1)
end

-- Puts a line in place of the one that is there; without a value the line goes.
local function set_sheet_value(sheet, mark, value)
  local text = sheet.text
  local first, before = find(text, mark, 1, true)
  if first then
    local line = value and mark .. value or ''
    sheet.text = sub(text, 1, first - 1) .. line .. sub(text, find(text, NEWLINE, before, true), -1)
  elseif value then
    sheet.text = sub(text, 1, -2) .. mark .. value .. NEWLINE
  end
  sheet.changed = true
end

function save_sheets()
  for key, sheet in pairs(sheets) do
    if sheet.changed and sheet.text == NEWLINE then
      call('DEL', key)
    elseif sheet.changed then
      call('SET', key, sheet.text, 'PX', RATES_KEPT_MS)
    end
    sheet.changed = false
  end
end
