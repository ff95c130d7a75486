# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exchanges the counts between HAProxy and Redis, a few times a second.

HAProxy may admit a share of the rest of a limit by itself, so small that all gateways together can't exceed the limit
by much; beyond it, HAProxy asks Redis. What this task writes are only hints: without it HAProxy goes on with what it
has, and without Redis with its own counts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evenkeel_gateway import files, metrics, polling
from evenkeel_gateway.haproxy.limits import LimitFiles, hello, is_address
from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError
from evenkeel_gateway.health import RedisStatus
from evenkeel_gateway.limits.ledger import Count, Ledger, LedgerError
from evenkeel_gateway.limits.tables import LimitTables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from evenkeel_gateway.haproxy.lifecycle import Haproxy
    from evenkeel_gateway.health import GatewayState
    from evenkeel_gateway.limits.ledger import Settlement
    from evenkeel_gateway.limits.tables import CountSnapshot
    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.settings.limits import Limit
    from evenkeel_gateway.settings.redis import RedisAddress

log = logging.getLogger(__name__)

INTERVAL = polling.SECONDS
INTERVAL_ALONE = 3 * polling.SECONDS
ATTEMPTS_SECONDS = 1.0
RESOLVE_SECONDS = 5.0
FORGET_SECONDS = 60.0


@dataclass(slots=True)
class _KeyCounts:
    """The counts of a key, kept in case HAProxy or Redis loses them."""

    own: int = 0
    others: int = 0
    may: int = 0
    """How many HAProxy may count, as it was told; 0: as many as the map allows."""
    told: int = 0


def share(limit: int, left: int, gateways: int) -> int:
    """Return how many requests a gateway may admit before it reports them to Redis.

    A part of what is left, so that slow clients cause no questions; and so few that all other gateways together, which
    may not know yet that the limit is reached, exceed it by a tenth at most, or by one each.
    """
    left = max(0, left)
    if gateways <= 1:
        return left
    return min(left // (2 * gateways), max(1, limit // (10 * (gateways - 1))))


class LimitSettlement:
    def __init__(self, haproxy: Haproxy, state: GatewayState) -> None:
        self._haproxy = haproxy
        self._state = state
        self._files = LimitFiles(haproxy.runtime)
        self._tables = LimitTables(haproxy.api, self._files.map)
        self._settings: Settings | None = None
        self._rates: dict[str, Limit] = {}
        self._login: Limit | None = None
        self._ledger: Ledger | None = None
        self._password: str | None = None

        self._known: dict[str, dict[str, _KeyCounts]] = {}
        self._untold: set[tuple[str, str]] = set()
        self._attempts: dict[str, int] = {}
        self._told_attempts: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._process = ""
        self._gone = ""
        self._run_id = ""
        self._cursor = 0
        self._live = 0
        self._address: str | None = None
        self._resolved = 0.0
        self._read_attempts = 0.0
        self._forgot = time.monotonic()
        self._sharing: asyncio.Task[None] | None = None

    @property
    def redis(self) -> RedisStatus | None:
        return self._state.redis

    async def run(self) -> None:
        """Run until cancelled, whatever fails: HAProxy limits by its own counts meanwhile."""
        try:
            while True:
                try:
                    await self._adopt(self._haproxy.current.settings)
                    if self._rates or self._login:
                        await self._tick()
                except RuntimeApiError as error:
                    log.debug("the limits were not settled: %s", error)
                except Exception:
                    log.exception("the limits were not settled")
                interval = INTERVAL if self.redis else INTERVAL_ALONE
                await self._pause(interval)
        finally:
            if self._sharing:
                self._sharing.cancel()

    async def _pause(self, interval: float) -> None:
        """Wait for the interval, or until a new HAProxy needs its counts."""
        await polling.wait(self._haproxy.replaced, interval)
        self._haproxy.replaced.clear()

    async def _adopt(self, settings: Settings) -> None:
        """Use new settings."""
        if settings is self._settings:
            return
        before, self._settings = self._settings, settings
        self._rates = {limit.kind: limit for limit in settings.limits if limit.kind != "login"}
        self._login = next((limit for limit in settings.limits if limit.kind == "login"), None)
        self._known = {kind: self._known.get(kind, {}) for kind in self._rates}
        self._untold = {(kind, key) for kind, key in self._untold if kind in self._rates}
        self._tables.load()
        self._live = 0  # the shares may have changed
        shared = settings.limits and settings.redis
        if not shared or before is None or before.redis != settings.redis:
            self._state.redis = RedisStatus() if shared else None
            if self._ledger:
                await self._ledger.close()
            self._ledger = None

    async def _tick(self) -> None:
        snapshot = await self._tables.snapshot(self._rates)
        if not snapshot.process:
            return  # HAProxy has no limits yet
        if snapshot.process != self._process:
            await self._take_up(snapshot.process)
        for kind, found in snapshot.recent.items():
            for key, own in found:
                self._remember(kind, key, own)
        self._count(snapshot)
        # With Redis there are hardly any; without it all attempts are here.
        pause = ATTEMPTS_SECONDS if self.redis and self.redis.status == "up" else 0
        if self._login and time.monotonic() - self._read_attempts > pause:
            self._read_attempts = time.monotonic()
            rows = await self._tables.attempts(self._login)
            self._attempts = {key: row.own - row.others for key, row in rows.items()}
        if self.redis:
            # A slow Redis does not delay reading HAProxy's counts.
            if self._sharing is None or self._sharing.done():
                self._sharing = asyncio.create_task(self._share(self.redis), name="limits are shared")
            await asyncio.wait({self._sharing}, timeout=INTERVAL)
        if time.monotonic() - self._forgot > FORGET_SECONDS:
            self._forget()

    async def _take_up(self, process: str) -> None:
        """Hand the counts to a new HAProxy process: its predecessor's counts become those of others."""
        if self._process:
            for kind, keys in self._known.items():
                # Redis will return them; but keys near their limit can't wait for it.
                least = self._rates[kind].most // 4 if self.redis and self.redis.status == "up" else 1
                for known in keys.values():
                    known.own, known.others, known.may, known.told = 0, known.own + known.others, 0, 0
                news = ((key, {"gpc1": known.others}) for key, known in keys.items() if known.others >= least)
                await self._tables.put(self._rates[kind], news)
            if self._login:
                news = ((key, {"gpt0": count}) for key, count in self._attempts.items() if count > 0)
                await self._tables.put(self._login, news)
            log.info("the limits' counts were handed to a new HAProxy")
            self._gone = self._process
        else:
            # This control plane has just started and does not know what HAProxy has counted.
            for kind, limit in self._rates.items():
                for key, row in await self._tables.rows(limit):
                    self._remember(kind, key, row.own)
                    known = self._known[kind].setdefault(key, _KeyCounts())
                    known.others, known.may = row.others, row.may
        self._process = process
        self._untold = {(kind, key) for kind, key in self._untold if self._known[kind][key].own}
        self._counted, self._told_attempts = {}, {}
        # The files that it read may be older than what was set since.
        await self._tables.set_map(self._tables.map, force=True)
        self._address, self._resolved = None, 0.0

    def _remember(self, kind: str, key: str, own: int) -> None:
        known = self._known[kind].get(key)
        if known is None:
            if not own:
                return
            known = self._known[kind][key] = _KeyCounts()
        if own > known.own:
            metrics.LIMITED_REQUESTS.labels(kind, "admitted").inc(own - known.own)
            known.own = own
            self._untold.add((kind, key))

    def _count(self, snapshot: CountSnapshot) -> None:
        counters = {f"refused {kind}": metrics.LIMITED_REQUESTS.labels(kind, "refused") for kind in snapshot.refused}
        counters |= {name: metrics.LIMIT_QUESTIONS.labels(name) for name in snapshot.questions}
        counts = {f"refused {kind}": count for kind, count in snapshot.refused.items()} | snapshot.questions
        for name, count in counts.items():
            counters[name].inc(max(0, count - self._counted.get(name, 0)))
        self._counted |= counts

    async def _share(self, redis: RedisStatus) -> None:
        settings, started = self._settings, time.monotonic()
        if settings is None or settings.redis is None:
            return
        try:
            ledger = await self._connect(settings, settings.redis)
            await self._settle(ledger)
            await self._tell_attempts(ledger)
            if redis.status != "up":
                log.info("the limits are shared through Redis", extra={"fields": {"live": self._live}})
            redis.status, redis.error, redis.settled = "up", None, time.monotonic()
            metrics.LIMIT_SETTLEMENTS.observe(time.monotonic() - started)
            await self._tables.set_map({"shared": 1})
        except (LedgerError, OSError, TimeoutError) as error:
            metrics.REDIS_ERRORS.inc()
            status = "degraded" if isinstance(error, LedgerError) and error.answers else "down"
            if (redis.status, redis.error) != (status, str(error)):
                log.warning("limits are not shared: this gateway counts alone", extra={"fields": {"redis": str(error)}})
            redis.status, redis.error = status, str(error)
            self._resolved = 0.0
            await self._tables.set_map({"shared": 0})
        except RuntimeApiError as error:
            log.debug("the limits were not settled: %s", error)

    async def _connect(self, settings: Settings, redis: RedisAddress) -> Ledger:
        stored = self._state.secrets
        password = redis.password or (stored.values.get("REDIS_PASSWORD") if stored else None)
        if self._ledger is None or password != self._password:
            if self._ledger:
                await self._ledger.close()
            files.write(self._files.hello, hello(redis, password))
            self._ledger, self._password = Ledger(settings, redis, password), password
        await self._resolve(redis)
        return self._ledger

    async def _resolve(self, redis: RedisAddress) -> None:
        """Set the address of Redis in HAProxy, which does not resolve names itself."""
        if is_address(redis.host) or time.monotonic() - self._resolved < RESOLVE_SECONDS:
            return
        async with asyncio.timeout(RESOLVE_SECONDS):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(redis.host, redis.port, type=socket.SOCK_STREAM)
        self._resolved = time.monotonic()
        addresses = [str(entry[4][0]) for entry in sorted(found, key=lambda entry: entry[0] != socket.AF_INET)]
        if self._address not in addresses:
            self._address = addresses[0]
            files.write(self._files.address, self._address)
            await self._tables.set_redis(self._address, redis.port)

    async def _settle(self, ledger: Ledger) -> None:
        process, epoch = self._process, self._tables.map["epoch"]
        rows = [(kind, key, self._known[kind][key].own) for kind, key in self._untold]
        counts = [
            Count(f"{kind}:{key}", own, limit.most, limit.seconds)
            for kind, key, own in rows
            for limit in (self._rates[kind],)
        ]
        settled = await ledger.settle(process, epoch, self._cursor, counts, gone=self._gone)
        if process != self._process:
            return  # it was for a process that has ended
        self._gone = ""
        if settled.epoch != epoch:
            await self._begin(ledger, settled.epoch)
            if epoch:
                return
        self._cursor = settled.cursor
        for kind, key, own in rows:
            if known := self._known.get(kind, {}).get(key):
                known.told = max(known.told, own)
                if known.own <= known.told:
                    self._untold.discard((kind, key))
        await self._pass_on(settled, rows)

    async def _pass_on(self, settled: Settlement, rows: Iterable[tuple[str, str, int]]) -> None:
        """Set the counts of the other gateways in HAProxy."""
        news: dict[str, dict[str, int]] = {kind: {} for kind in self._rates}
        if settled.live != self._live:
            self._live = settled.live
            await self._tables.set_map(
                {kind: 1 + share(limit.most, limit.most, self._live) for kind, limit in self._rates.items()}
            )
            # Keys with a share of their own get a new one.
            for kind, keys in self._known.items():
                news[kind] |= {key: known.others for key, known in keys.items() if known.may}
        for name, others in settled.hot:
            kind, _, key = name.partition(":")
            if kind in news:
                news[kind][key] = others
        for (kind, key, _), others in zip(rows, settled.others, strict=True):
            news[kind][key] = others
        for kind, found in news.items():
            await self._tables.put(self._rates[kind], self._changes(kind, found))

    def _changes(self, kind: str, found: dict[str, int]) -> Iterator[tuple[str, dict[str, int]]]:
        most = self._rates[kind].most
        for key, others in found.items():
            known = self._known[kind].setdefault(key, _KeyCounts())
            may = 1 + known.told + share(most, most - known.told - others, self._live)
            values = {}
            if known.others != others:
                values["gpc1"] = known.others = others
            if (known.may or self._tables.map[kind]) != may:
                values["gpt0"] = known.may = may
            if values:
                yield key, values

    async def _tell_attempts(self, ledger: Ledger) -> None:
        new = {key: count for key, count in self._attempts.items() if count != self._told_attempts.get(key, 0)}
        if new and self._login:
            await ledger.tell_attempts(self._process, new, self._login.seconds)
            self._told_attempts |= new

    async def _begin(self, ledger: Ledger, epoch: int) -> None:
        """Redis has a new epoch: it lost its counts."""
        run_id = await ledger.run_id()
        if self._tables.map["epoch"]:
            self._cursor = 0
            self._told_attempts = {}
            if run_id == self._run_id or not self._run_id:
                log.warning("the counts in Redis were deleted, all limits start again")
                limits = [*self._rates.values(), *([self._login] if self._login else [])]
                await self._tables.clear(limits)
                self._known = {kind: {} for kind in self._rates}
                self._untold, self._attempts = set(), {}
            else:
                log.warning("Redis has lost its counts, writing them again")
                for kind, keys in self._known.items():
                    for key, known in keys.items():
                        known.told = 0
                        if known.own:
                            self._untold.add((kind, key))
        self._run_id = run_id
        await self._tables.set_map({"epoch": epoch})

    def _forget(self) -> None:
        """Remove the keys of past windows."""
        self._forgot = now = time.monotonic()
        for kind, keys in self._known.items():
            _forget(keys, self._rates[kind])
            self._untold = {(one, key) for one, key in self._untold if one != kind or key in keys}
        if self._login:
            _forget(self._attempts, self._login)
            _forget(self._told_attempts, self._login)
        log.debug("forgotten in %.3f s", time.monotonic() - now)


def _forget(keys: dict[str, _KeyCounts] | dict[str, int], limit: Limit) -> None:
    oldest = int(time.time()) // limit.seconds - 1
    for key in [key for key in keys if int(key.partition("/")[0]) < oldest]:
        del keys[key]
