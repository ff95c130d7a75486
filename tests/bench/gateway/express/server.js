// Copyright: Contributors to evenkeel.fleet
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// A gateway as it is commonly made with Express: one process for each worker, a middleware for each feature.
// PORT, UPSTREAM, WORKERS; LIMIT: requests of a user in 15 minutes; FEATURES: some of jwt, limit,
// breaker, log, metrics.
'use strict'

const cluster = require('node:cluster')
const http = require('node:http')

const features = new Set((process.env.FEATURES || '').split(',').filter(Boolean))
const workers = Number(process.env.WORKERS)

if (cluster.isPrimary) {
  for (let number = 0; number < workers; number++) cluster.fork()
  cluster.on('exit', () => process.exit(1))
} else {
  serve().catch((error) => {
    console.error(error)
    process.exit(1)
  })
}

async function serve () {
  const express = require('express')
  const { createProxyMiddleware } = require('http-proxy-middleware')
  const app = express()
  app.disable('x-powered-by')
  app.get('/api/health', (_, response) => response.json({ status: 'healthy' }))
  if (features.has('log')) app.use(accessLog())
  if (features.has('metrics')) app.use(metrics(app))
  if (features.has('jwt')) app.use('/api', authenticate())
  if (features.has('limit')) app.use('/api', await limit())

  // Connections to the upstream are kept; without an agent http-proxy opens one for each request.
  const agent = new http.Agent({ keepAlive: true, maxSockets: 128 })
  const proxy = createProxyMiddleware({ target: process.env.UPSTREAM, agent, xfwd: true })
  app.use(only('/api', features.has('breaker') ? guarded(proxy) : proxy))
  app.use((_, response) => response.status(404).json({ error: 'no such route' }))
  const server = app.listen(Number(process.env.PORT), '127.0.0.1')
  server.keepAliveTimeout = 75000
}

// Unlike app.use with a path it leaves the path as it is.
function only (prefix, handler) {
  return (request, response, next) => {
    if (request.path.startsWith(prefix)) handler(request, response, next)
    else next()
  }
}

function authenticate () {
  const jwt = require('jsonwebtoken')
  const options = { algorithms: ['HS256'] }
  return (request, response, next) => {
    const [scheme, token] = (request.headers.authorization || '').split(' ')
    if (scheme !== 'Bearer' || !token) return response.status(401).json({ error: 'missing token' })
    try {
      request.user = jwt.verify(token, process.env.JWT_SECRET, options)
    } catch {
      return response.status(401).json({ error: 'invalid token' })
    }
    request.headers['x-user-id'] = request.user.sub
    next()
  }
}

async function limit () {
  const { rateLimit } = require('express-rate-limit')
  const { RedisStore } = require('rate-limit-redis')
  const client = require('redis').createClient({ url: process.env.REDIS_URL })
  await client.connect()
  return rateLimit({
    windowMs: 15 * 60 * 1000,
    limit: Number(process.env.LIMIT),
    standardHeaders: 'draft-6',
    legacyHeaders: false,
    keyGenerator: (request) => request.user ? request.user.sub : request.ip,
    store: new RedisStore({ sendCommand: (...args) => client.sendCommand(args) })
  })
}

function accessLog () {
  const line = (tokens, request, response) => JSON.stringify({
    time: tokens.date(request, response, 'iso'),
    client: tokens['remote-addr'](request, response),
    method: request.method,
    path: request.originalUrl.split('?')[0],
    status: Number(tokens.status(request, response)),
    bytes: Number(tokens.res(request, response, 'content-length')),
    ms: Number(tokens['response-time'](request, response)),
    user: request.user && request.user.sub
  })
  return require('morgan')(line)
}

function metrics (app) {
  const { register, Histogram } = require('prom-client')
  const seconds = new Histogram({
    name: 'http_request_duration_seconds', help: 'By route and status', labelNames: ['method', 'route', 'status']
  })
  app.get('/metrics', async (_, response) => response.type(register.contentType).send(await register.metrics()))
  return (request, response, next) => {
    const end = seconds.startTimer()
    response.on('finish', () => end({ method: request.method, route: '/api', status: response.statusCode }))
    next()
  }
}

function guarded (proxy) {
  const CircuitBreaker = require('opossum')
  const breaker = new CircuitBreaker((request, response, next) => new Promise((resolve, reject) => {
    response.on('finish', () => response.statusCode < 500 ? resolve() : reject(new Error('upstream')))
    response.on('close', resolve)
    proxy(request, response, next)
  }), { timeout: 60000, resetTimeout: 30000, errorThresholdPercentage: 50 })
  return (request, response, next) => {
    breaker.fire(request, response, next).catch(() => {
      if (!response.headersSent) response.status(503).json({ error: 'circuit open' })
    })
  }
}
