-- What is known of a wallet in the current generation: nil and a reason where nothing is.
-- KEYS: state, the wallet's hash, the wallet's sorted set.
local function entry(fields)
    local generation = redis.call('HGET', KEYS[1], 'generation')
    if not generation then return nil, 'lost' end
    local known = redis.call('HMGET', KEYS[2], 'generation', 'count', 'busy', 'complete', unpack(fields))
    if known[1] ~= generation then return nil, 'absent', generation end
    if known[3] then return nil, 'busy' end
    -- Redis may have evicted one of both keys.
    if tonumber(known[2]) ~= redis.call('ZCARD', KEYS[3]) then return nil, 'absent', generation end
    return known, nil, generation
end

