-- Adds signals to the entry of a wallet, each once and in whatever order they come.
-- ARGV: the nonce that it is filled with (empty: these are not all), how long it stays in ms, since
-- when signals are counted in ms, how many at most, how many are kept as JSON, when the first and
-- the last of these happened (empty: there are none), the order and the JSON of the latest snapshot
-- (empty: none), and by signal when it happened, its member and its JSON (empty: not kept).
-- Returns fed, complete, absent, busy or lost.
local known, reason, generation = entry({'nonce', 'first', 'last', 'snapshot_order'})
if not known then return reason end
local nonce, ttl, since, most, shown = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local first, last, order = ARGV[6], ARGV[7], ARGV[8]
if nonce ~= '' and known[5] ~= nonce then return 'absent' end

local newest = redis.call('ZREVRANGE', KEYS[3], 0, shown - 1)
for i = 10, #ARGV, 3 do redis.call('ZADD', KEYS[3], ARGV[i], ARGV[i + 1]) end
for i = 10, #ARGV, 3 do
    if ARGV[i + 2] ~= '' and redis.call('ZREVRANK', KEYS[3], ARGV[i + 1]) < shown then
        redis.call('HSETNX', KEYS[2], 's' .. ARGV[i + 1], ARGV[i + 2])
    end
end
for _, member in ipairs(newest) do
    if redis.call('ZREVRANK', KEYS[3], member) >= shown then redis.call('HDEL', KEYS[2], 's' .. member) end
end
local kept = math.max(redis.call('ZCOUNT', KEYS[3], since, '+inf'), shown)
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -(kept + 1))

local count = redis.call('ZCARD', KEYS[3])
if count > most then
    redis.call('UNLINK', KEYS[2], KEYS[3])
    redis.call('HSET', KEYS[2], 'generation', generation, 'busy', 1)
    redis.call('PEXPIRE', KEYS[2], math.min(tonumber(ttl), 600000))
    return 'busy'
end
redis.call('HSET', KEYS[2], 'count', count)
if first ~= '' and (not known[6] or tonumber(first) < tonumber(known[6])) then redis.call('HSET', KEYS[2], 'first', first) end
if last ~= '' and (not known[7] or tonumber(last) > tonumber(known[7])) then redis.call('HSET', KEYS[2], 'last', last) end
if order ~= '' and (not known[8] or order > known[8]) then
    redis.call('HSET', KEYS[2], 'snapshot_order', order, 'snapshot', ARGV[9])
end
if nonce ~= '' then redis.call('HSET', KEYS[2], 'complete', 1) end
-- What nobody knows is asked for again before long.
if count == 0 then return 'fed' end
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('PEXPIRE', KEYS[3], ttl)
return 'fed'
