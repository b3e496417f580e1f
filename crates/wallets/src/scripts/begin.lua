-- Makes sure that from now on signals of a wallet are told to its entry, which is to be filled
-- with what the table has. ARGV: a nonce, how long it waits for that in ms.
-- Returns the nonce that it is to be filled with, or complete, busy or lost.
local known, reason, generation = entry({'nonce'})
if reason == 'lost' or reason == 'busy' then return reason end
if known and known[4] then return 'complete' end
if known then return known[5] end
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'generation', generation, 'nonce', ARGV[1], 'count', 0)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return ARGV[1]
