-- Renews the lease of a feeder, and begins a new generation where signals may have been lost: where
-- the feeder says so, where another one is given up, and where Redis has lost the old one.
-- KEYS: state, feeders. ARGV: the feeder (empty: none), its lease in ms, 1 to begin anew, after how
-- many ms without a lease another one is given up, and those that are given up at once if they have
-- none. Returns the generation, whether it is new, and who has no lease.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local gone = {}
for i = 5, #ARGV do gone[ARGV[i]] = true end
local generation = redis.call('HGET', KEYS[1], 'generation')
local anew = ARGV[3] == '1' or not generation
local feeders, silent = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #feeders, 2 do
    local feeder, overdue = feeders[i], now_ms - feeders[i + 1]
    if feeder ~= ARGV[1] and overdue > 0 then
        if gone[feeder] or overdue > tonumber(ARGV[4]) then
            redis.call('HDEL', KEYS[2], feeder)
            anew = true
        else
            silent[#silent + 1] = feeder
        end
    end
end
if anew then
    -- Never one that was there before, also when the clock was set back.
    local new = math.max(now[1] * 1000000 + now[2], (tonumber(generation) or 0) + 1)
    generation = string.format('%.0f', new)
    redis.call('HSET', KEYS[1], 'generation', generation)
end
if ARGV[1] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now_ms + ARGV[2])) end
return {generation, anew and 1 or 0, silent}
