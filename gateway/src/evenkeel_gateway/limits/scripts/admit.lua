-- Run by Redis, asked by HAProxy for one request beyond what it may admit by itself.
-- A ticket is the request's number among this process's requests of the key. What is stored of a process only grows, so
-- asking twice counts once. It may have been stored with a later ticket, even one that is still to be decided: the
-- earlier ones go first, so that only the tickets before this one are in its way.
--   KEYS  epoch, live processes, hot, the counts of the key
--   ARGV  epoch ('' where it is not known yet), process, ticket, limit, milliseconds to keep, the key's name
--   gives {1, ceiling, used}: admitted, and so far without asking; {0, 0, used}: refused; {-1}: another epoch
local epoch, process, ticket, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if epoch ~= '' and redis.call('GET', KEYS[1]) ~= epoch then
    return {-1}
end
local mine, others = 0, 0
local counts = redis.call('HGETALL', KEYS[4])
for i = 1, #counts, 2 do
    if counts[i] == process then
        mine = tonumber(counts[i + 1])
    else
        others = others + tonumber(counts[i + 1])
    end
end
if others + ticket > limit then
    return {0, 0, others + mine}
end
if ticket > mine then
    mine = ticket
    redis.call('HSET', KEYS[4], process, mine)
    redis.call('PEXPIRE', KEYS[4], ARGV[5])
end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[2], now, process)
local used = others + mine
if used * 2 >= limit then
    redis.call('ZADD', KEYS[3], now, ARGV[6])
end
local gateways = redis.call('ZCARD', KEYS[2])
local left = math.max(0, limit - used)
if gateways > 1 then
    -- As settlement.py has it.
    left = math.min(math.floor(left / (2 * gateways)), math.max(1, math.floor(limit / (10 * (gateways - 1)))))
end
return {1, mine + left, used}
