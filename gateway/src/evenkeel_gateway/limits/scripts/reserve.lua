-- Run by Redis, asked by HAProxy before a login goes upstream: a place among the failures that are allowed.
-- Attempts are fields of their own, so that concluding one twice is the same as once. Beside them each
-- process has a field of what it counted without asking (below zero: attempts that came to nothing and were not told).
--   KEYS  epoch, the attempts of the address
--   ARGV  epoch ('' where it is not known yet), attempt, limit, milliseconds to keep, the process's field
--   gives {1, attempts that are not this process's own count}: reserved; {0, that, certain failures}: no place; {-1}
local epoch, attempt, limit = ARGV[1], 'a:' .. ARGV[2], tonumber(ARGV[3])
if epoch ~= '' and redis.call('GET', KEYS[1]) ~= epoch then
    return {-1}
end
local taken, failed, own = 0, 0, 0
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if string.sub(name, 1, 2) == 'a:' then
        taken = taken + 1
        failed = failed + (value == 'failed' and 1 or 0)
    else
        taken = taken + tonumber(value)
        own = name == ARGV[5] and tonumber(value) or own
    end
end
if taken >= limit then
    return {0, taken - own, failed}
end
redis.call('HSET', KEYS[2], attempt, 'open')
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {1, taken + 1 - own}
