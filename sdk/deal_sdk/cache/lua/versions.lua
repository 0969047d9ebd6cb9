-- How versions are compared: as text, because a Lua number holds only 53 bits. Prepended to entry.lua and drop.lua.

local function is_older(left, right)
  if #left ~= #right then
    return #left < #right
  end
  return left < right
end

-- Another program's text is no version, and must not stand above ours for ever.
local function checked(version)
  return version and string.match(version, '^%d+$') or '0'
end
