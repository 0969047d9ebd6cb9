-- When the periods of purchases end, and whether what is known of one can be trusted.

-- The lineage of the server's data: another one after a restart and after a failover, which may have lost
-- acknowledged writes. Empty where a server does not say, which is then trusted as long as a trace is there.
-- It is asked for once in a call: nothing else runs on the server meanwhile.
local lineage

local function generation_now()
  if not lineage then
    local info = redis.pcall('INFO', 'replication')
    lineage = type(info) == 'string' and match(info, 'master_replid:(%w%w%w%w%w%w%w%w%w%w%w%w)') or ''
  end
  return lineage
end

-- When a period that begins now ends. Calendar boundaries come from the client, which knows time zones: they
-- cover more than a day around its time; where the server's time is not among them, nothing can be said.
local function period_end(now_ms, period_ms, boundaries)
  if boundaries == '' then
    return now_ms + period_ms
  end
  local begun = false
  for text in string.gmatch(boundaries, '%d+') do
    local boundary_ms = tonumber(text)
    if boundary_ms > now_ms then
      return begun and boundary_ms or nil
    end
    begun = true
  end
  return nil
end

-- What a limit goes on from, as its caller says: "trust" its own state, for there is no SQL record; or "ask" for that
-- record where the state is not of this generation; or "seeded COUNT END" with what the record knows of the running
-- period (0 and 0 for none), of which and the state the larger holds.
local function seeds_of(known)
  local count, ends_text = match(known, '^seeded (%d+) (%d+)$')
  return count, tonumber(ends_text or '0')
end
