-- How slots are compared. Prepended to balance.lua and drop.lua.

local function is_older(left, right)
  if #left ~= #right then
    return #left < #right
  end
  return left < right
end
