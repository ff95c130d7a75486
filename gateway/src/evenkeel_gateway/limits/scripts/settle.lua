-- Run by Redis, asked by the control plane a few times a second: our counts in, the others' out.
--   KEYS  epoch, live processes, hot, then the counts of each key
--   ARGV  our epoch or '', an epoch to begin if there is none, process, milliseconds for which a process counts as live,
--         milliseconds for which names stay hot, the last answer's time, the most hot names wanted, the keys' prefix,
--         a process that is no more or '', then for each key: its name, our count, the limit, milliseconds to keep
--   gives {epoch, live processes, time, {the others' count for each key}, {name, the others' count, ...}}
--         or {epoch} where it is not ours: nothing was counted
local HEAD = 9
local ours, now = ARGV[1], redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local epoch = redis.call('GET', KEYS[1])
if not epoch then
    epoch = ARGV[2]
    redis.call('SET', KEYS[1], epoch)
end
if ours ~= '' and ours ~= epoch then
    return {epoch}
end
local process = ARGV[3]
redis.call('ZADD', KEYS[2], now, process)
redis.call('ZREM', KEYS[2], ARGV[9])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[5])

local function read(key)
    local mine, others = 0, 0
    local counts = redis.call('HGETALL', key)
    for i = 1, #counts, 2 do
        if counts[i] == process then
            mine = tonumber(counts[i + 1])
        else
            others = others + tonumber(counts[i + 1])
        end
    end
    return mine, others, #counts > 0
end

local result = {}
for i = 4, #KEYS do
    local at = HEAD + (i - 4) * 4
    local name, count, limit = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local mine, others = read(KEYS[i])
    if count > mine then
        mine = count
        redis.call('HSET', KEYS[i], process, mine)
        redis.call('PEXPIRE', KEYS[i], ARGV[at + 4])
        if (mine + others) * 2 >= limit then
            redis.call('ZADD', KEYS[3], now, name)
        end
    end
    result[#result + 1] = others
end

local hot, cursor = {}, now
local names = redis.call('ZRANGEBYSCORE', KEYS[3], ARGV[6], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[7])
for i = 1, #names, 2 do
    local _, others, known = read(ARGV[8] .. names[i])
    if known then
        hot[#hot + 1] = names[i]
        hot[#hot + 1] = others
    else
        redis.call('ZREM', KEYS[3], names[i])
    end
    if #names == 2 * ARGV[7] then
        cursor = tonumber(names[i + 1])
    end
end
return {epoch, redis.call('ZCARD', KEYS[2]), cursor, result, hot}
