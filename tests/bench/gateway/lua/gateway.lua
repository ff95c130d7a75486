-- Copyright: Contributors to evenkeel.fleet
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- The features for nginx: JWT (HS256), a limit for each user in Redis, a circuit breaker, latency histograms.
require "resty.core"
local base64 = require "ngx.base64"
local cjson = require "cjson.safe"
local hmac = require "openssl.hmac"
local lrucache = require "resty.lrucache"
local redis = require "nginx.redis"

local WINDOW_SECONDS = 900
local CIRCUIT_ERRORS, CIRCUIT_OPEN_SECONDS = 10, 30
local BOUNDS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

local gateway = {}
local secret, redis_port, limit
local verified = lrucache.new(10000)

function gateway.configure(...)
    secret, redis_port, limit = ...
end

local function refuse(status, message)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.say(cjson.encode({ error = message }))
    return ngx.exit(status)
end

local function verify(token)
    local claims = verified:get(token)
    if claims then
        return claims.exp > ngx.time() and claims or nil
    end
    local signed, signature = token:match("^([%w_-]+%.[%w_-]+)%.([%w_-]+)$")
    if not signed or hmac.new(secret, "sha256"):final(signed) ~= base64.decode_base64url(signature) then
        return nil
    end
    local head, body = signed:match("^(.+)%.(.+)$")
    head, claims = cjson.decode(base64.decode_base64url(head)), cjson.decode(base64.decode_base64url(body))
    if not head or head.alg ~= "HS256" or not claims or type(claims.exp) ~= "number" or claims.exp <= ngx.time() then
        return nil
    end
    verified:set(token, claims)
    return claims
end

-- Fixed windows, one round trip for each request: what Kong and APISIX do with their policy "redis".
local function count(user)
    local client = redis:new()
    client:set_timeout(1000)
    if not client:connect("127.0.0.1", redis_port) then
        return 0
    end
    local key = "limit:" .. user .. ":" .. math.floor(ngx.time() / WINDOW_SECONDS)
    local found = client:incr(key)
    if found == 1 then
        client:expire(key, WINDOW_SECONDS)
    end
    client:set_keepalive(60000, 64)
    return found or 0
end

function gateway.access()
    local token = (ngx.var.http_authorization or ""):match("^Bearer (.+)$")
    local claims = token and verify(token)
    if not claims then
        return refuse(401, "missing or invalid token")
    end
    ngx.var.user = claims.sub
    local used = count(claims.sub)
    ngx.header["RateLimit-Limit"] = limit
    ngx.header["RateLimit-Remaining"] = math.max(0, limit - used)
    if used > limit then
        return refuse(429, "too many requests")
    end
    if ngx.shared.breaker:get("open") then
        return refuse(503, "circuit open")
    end
end

local function guard(status)
    local breaker = ngx.shared.breaker
    if status >= 500 then
        if breaker:incr("errors", 1, 0) >= CIRCUIT_ERRORS then
            breaker:set("open", true, CIRCUIT_OPEN_SECONDS)
            breaker:delete("errors")
        end
    elseif breaker:get("errors") then
        breaker:delete("errors")
    end
end

function gateway.log()
    local upstream_status = tonumber(ngx.var.upstream_status)
    if upstream_status then
        guard(upstream_status)
    end
    local metrics, seconds, status = ngx.shared.metrics, tonumber(ngx.var.request_time), ngx.status
    local bound = "+Inf"
    for _, each in ipairs(BOUNDS) do
        if seconds <= each then
            bound = each
            break
        end
    end
    metrics:incr(status .. ";" .. bound, 1, 0)
    metrics:incr(status .. ";sum", seconds, 0)
end

function gateway.metrics()
    ngx.header["Content-Type"] = "text/plain"
    local metrics, statuses = ngx.shared.metrics, {}
    for _, key in ipairs(metrics:get_keys(0)) do
        statuses[key:match("^%d+")] = true
    end
    for status in pairs(statuses) do
        local total = 0
        for number = 1, #BOUNDS + 1 do
            local bound = BOUNDS[number] or "+Inf"
            total = total + (metrics:get(status .. ";" .. bound) or 0)
            ngx.say('http_request_duration_seconds_bucket{status="', status, '",le="', bound, '"} ', total)
        end
        ngx.say('http_request_duration_seconds_sum{status="', status, '"} ', metrics:get(status .. ";sum"))
        ngx.say('http_request_duration_seconds_count{status="', status, '"} ', total)
    end
end

return gateway
