-- What clients read of a wallet. KEYS: besides, the feeders. ARGV: since when the shorter and the
-- longer window are, in ms, and how many signals are answered as JSON.
-- Returns a word, and with hit: when the first and the last signal happened, the snapshot, the type,
-- the severity and the count in each window of its signals, and the newest as JSON.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local feeders = redis.call('HVALS', KEYS[4])
if #feeders == 0 then return {'stale'} end
for _, lease in ipairs(feeders) do
    if tonumber(lease) < now_ms then return {'stale'} end
end
local known, reason = entry({'first', 'last', 'snapshot'})
if reason == 'lost' then return {'stale'} end
if reason == 'busy' then return {'busy'} end
if not known or not known[4] then return {'miss'} end

local shorter = tonumber(ARGV[1])
local counts, kinds = {}, {}
local recent = redis.call('ZRANGEBYSCORE', KEYS[3], ARGV[2], '+inf', 'WITHSCORES')
for i = 1, #recent, 2 do
    -- Behind both parts of the position: the severity and the type.
    local kind = string.sub(recent[i], 40)
    local count = counts[kind]
    if not count then
        count = {0, 0}
        counts[kind] = count
        kinds[#kinds + 1] = kind
    end
    count[2] = count[2] + 1
    if tonumber(recent[i + 1]) >= shorter then count[1] = count[1] + 1 end
end
local told = {}
for _, kind in ipairs(kinds) do
    local count = counts[kind]
    for _, part in ipairs({string.sub(kind, 4), string.sub(kind, 1, 3), tostring(count[1]), tostring(count[2])}) do
        told[#told + 1] = part
    end
end
local newest = redis.call('ZREVRANGE', KEYS[3], 0, ARGV[3] - 1)
local signals = {}
if #newest > 0 then
    for i, member in ipairs(newest) do newest[i] = 's' .. member end
    signals = redis.call('HMGET', KEYS[2], unpack(newest))
    for _, signal in ipairs(signals) do
        if not signal then return {'miss'} end
    end
end
return {'hit', known[5], known[6], known[7], told, signals}
