-- Run by Redis, asked by HAProxy when a login was answered: a failure stays, anything else gives its place back.
--   KEYS  the attempts of the address
--   ARGV  attempt, 'failed' or 'passed'
--   gives {1}
local attempt = 'a:' .. ARGV[1]
if ARGV[2] == 'passed' then
    redis.call('HDEL', KEYS[1], attempt)
elseif redis.call('HEXISTS', KEYS[1], attempt) == 1 then
    redis.call('HSET', KEYS[1], attempt, 'failed')
end
return {1}
