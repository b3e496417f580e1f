-- Which entries are there to be told something. KEYS: state, the wallets' hashes.
-- Returns a letter for each: f (to be fed), b (busy), a (absent); or lost.
local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation then return 'lost' end
local held = {}
for i = 2, #KEYS do
    local known = redis.call('HMGET', KEYS[i], 'generation', 'busy')
    held[i - 1] = (known[1] ~= generation and 'a') or (known[2] and 'b') or 'f'
end
return table.concat(held)
