-- Copyright: Contributors to evenkeel.fleet
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- HAProxy's own questions to Redis: whether to admit a request near its limit, and whether to allow a login attempt.
-- Each uses a connection of its own (sockets can't be shared between requests) through the listener limits_redis, which
-- has the address of Redis and does TLS. Without an answer in time, the rules decide by the local counts, and no
-- question is asked for a second, so that a hanging Redis only delays a few requests.

local SOCKET = os.getenv('LIMITS_SOCKET')
local HELLO = os.getenv('LIMITS_HELLO')
local PREFIX = os.getenv('LIMITS_PREFIX')
-- Short for requests, as there are many; longer for logins, whose limit is strict.
local TIMEOUT = {
    admit = tonumber(os.getenv('LIMITS_TIMEOUT')),
    reserve = tonumber(os.getenv('LIMITS_LOGIN_TIMEOUT')),
    conclude = tonumber(os.getenv('LIMITS_LOGIN_TIMEOUT')),
}
local SCRIPTS = os.getenv('LIMITS_SCRIPTS')
local PAUSE = 1
local TELL_TIMES = 60
local PATIENCE = 20
local NAP_MILLISECONDS = 100
local WAITING_MOST = 100

local function read(path)
    local file = assert(io.open(path, 'rb'))
    local text = file:read('*a')
    file:close()
    return text
end

local scripts = {}
for _, name in ipairs({'admit', 'reserve', 'conclude'}) do
    scripts[name] = read(SCRIPTS .. '/' .. name .. '.lua')
end

local counts = {asked = 0, unanswered = 0, stale = 0}
local silent_until = {admit = 0, reserve = 0, conclude = 0}
local waiting = 0

local function now()
    local time = core.now()
    return time.sec + time.usec / 1000000
end

local function encode(...)
    local words = {...}
    local parts = {'*' .. #words .. '\r\n'}
    for _, word in ipairs(words) do
        word = tostring(word)
        parts[#parts + 1] = '$' .. #word .. '\r\n' .. word .. '\r\n'
    end
    return table.concat(parts)
end

local function line(socket)
    local text, problem = socket:receive('*l')
    if not text then
        error(problem or 'closed')
    end
    return (text:gsub('\r$', ''))
end

-- Our scripts answer with a list of integers.
local function integers(socket)
    local first = line(socket)
    if first:sub(1, 1) ~= '*' then
        error(first)
    end
    local found = {}
    for i = 1, tonumber(first:sub(2)) do
        found[i] = tonumber(line(socket):sub(2))
    end
    return found
end

local function exchange(socket, timeout, command)
    socket:settimeout(timeout)
    if not socket:connect(SOCKET) then
        error('no connection')
    end
    -- The number of replies, then the commands AUTH and SELECT; written by the control plane.
    local hello = read(HELLO)
    local answers, ready = hello:match('^(%d+)\n(.*)$')
    socket:send(ready .. command)
    for _ = 1, tonumber(answers) do
        local text = line(socket)
        if text:sub(1, 1) == '-' then
            error(text)
        end
    end
    return integers(socket)
end

-- Returns nil without an answer.
local function ask(script, keys, ...)
    if now() < silent_until[script] then
        return nil
    end
    local words = {'EVAL', scripts[script], #keys}
    for _, key in ipairs(keys) do
        words[#words + 1] = PREFIX .. key
    end
    for _, argument in ipairs({...}) do
        words[#words + 1] = argument
    end
    counts.asked = counts.asked + 1
    local socket = core.tcp()
    local fine, answer = pcall(exchange, socket, TIMEOUT[script], encode(table.unpack(words)))
    pcall(socket.close, socket)
    if fine then
        return answer
    end
    counts.unanswered = counts.unanswered + 1
    silent_until[script] = now() + PAUSE
    core.Debug('limits: Redis did not answer: ' .. tostring(answer))
    return nil
end

-- Zero in the map: not known yet.
local function epoch(txn)
    local known = txn:get_var('txn.limit_epoch')
    return known and tostring(known) ~= '0' and known or ''
end

-- txn.limit_answer: 1 admitted, 2 refused, 0 not known.
core.register_action('limits_admit', {'http-req'}, function(txn, kind, most, seconds)
    local key = kind .. ':' .. txn:get_var('txn.limit_key')
    local answer = ask(
        'admit', {'epoch', 'live', 'hot', key},
        epoch(txn), txn:get_var('proc.limits_process'), txn:get_var('txn.limit_ticket'), most,
        seconds .. '000', key
    )
    if not answer or answer[1] == -1 then
        counts.stale = counts.stale + (answer and 1 or 0)
        txn:set_var('txn.limit_answer', 0)
    elseif answer[1] == 1 then
        txn:set_var('txn.limit_answer', 1)
        txn:set_var('txn.limit_ceiling', answer[2])
        txn:set_var('txn.limit_used', answer[3])
    else
        txn:set_var('txn.limit_answer', 2)
    end
end, 3)

-- txn.login_answer: 1 reserved, 2 refused, 3 refused as long as other attempts are open, 0 not known.
core.register_action('limits_reserve', {'http-req'}, function(txn, most, seconds)
    local key = 'login:' .. txn:get_var('txn.login_key')
    local process = txn:get_var('proc.limits_process')
    local answer
    for try = 1, PATIENCE do
        answer = ask(
            'reserve', {'epoch', key},
            epoch(txn), txn:get_var('txn.login_id'), most, seconds .. '000', 'p:' .. process
        )
        -- All places are taken, some by open attempts, which may still be released.
        if not answer or answer[1] ~= 0 or answer[3] >= tonumber(most) or try == PATIENCE or waiting >= WAITING_MOST then
            break
        end
        waiting = waiting + 1
        core.msleep(NAP_MILLISECONDS)
        waiting = waiting - 1
    end
    if not answer or answer[1] == -1 then
        counts.stale = counts.stale + (answer and 1 or 0)
        txn:set_var('txn.login_answer', 0)
        return
    end
    txn:set_var('txn.login_known', answer[2])
    if answer[1] == 1 then
        txn:set_var('txn.login_answer', 1)
    else
        txn:set_var('txn.login_answer', answer[3] >= tonumber(most) and 2 or 3)
    end
end, 2)

-- Reports the result of a login in the background, with retries; reporting it twice is harmless.
core.register_fetches('limits_conclude', function(txn)
    local key, attempt = 'login:' .. txn:get_var('txn.login_key'), txn:get_var('txn.login_id')
    local result = txn:get_var('txn.login_result')
    core.register_task(function()
        for _ = 1, TELL_TIMES do
            if ask('conclude', {key}, attempt, result) then
                return
            end
            core.sleep(PAUSE)
        end
    end)
    return true
end)

core.register_cli({'show', 'limits'}, 'show limits : what was asked of Redis', function(applet)
    for _, name in ipairs({'asked', 'unanswered', 'stale'}) do
        applet:send(name .. ' ' .. counts[name] .. '\n')
    end
end)
