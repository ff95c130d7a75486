# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task that carries counts between HAProxy and Redis, a few times a second.

HAProxy may admit a part of what is left of a limit by itself, that share being so small that all gateways together
can't exceed the limit by much; beyond it, HAProxy asks Redis. What is written down here is only ever a hint for
HAProxy: it goes on with what it has, and without Redis with what it counted itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evenkeel_gateway import files, metrics
from evenkeel_gateway.haproxy.runtime_api import RuntimeApiError
from evenkeel_gateway.limits.ledger import Count, Ledger, LedgerError
from evenkeel_gateway.limits.rendering import Files, fresh_map, hello, is_address, map_text, read_map
from evenkeel_gateway.limits.tables import CLOSED, Row, Snapshot, batches, parse, reading, setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from evenkeel_gateway.haproxy.process import Haproxy
    from evenkeel_gateway.health import State
    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.settings.limits import Limit
    from evenkeel_gateway.settings.redis import RedisAddress

log = logging.getLogger(__name__)

INTERVAL = 0.2
INTERVAL_ALONE = 0.5
# HAProxy tells which keys were active in the last second, at least.
ACTIVE_SECONDS = 1.0
RESOLVE_SECONDS = 5.0
FORGET_SECONDS = 60.0


@dataclass
class RedisStatus:
    """What health says of Redis: up, degraded (it answers, but not what we need, or too late) or down."""

    status: str = "unknown"
    error: str | None = None
    settled: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since the counts were last settled."""
        return time.monotonic() - self.settled


@dataclass(slots=True)
class _Known:
    """What is remembered of a key, should HAProxy or Redis forget it."""

    own: int = 0
    others: int = 0
    told: int = 0


class Limits:
    def __init__(self, haproxy: Haproxy, state: State) -> None:
        self._haproxy = haproxy
        self._api = haproxy.api
        self._state = state
        self._files = Files(haproxy.inputs.runtime)
        self._settings: Settings | None = None
        self._limits: dict[str, Limit] = {}
        self._ledger: Ledger | None = None
        self._password: str | None = None

        self._known: dict[str, dict[str, _Known]] = {}
        self._attempts: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._process = ""
        self._gone = ""
        self._run_id = ""
        self._cursor = 0
        self._live = 0
        self._everything = True
        self._map: dict[str, int] = {}
        self._address: str | None = None
        self._resolved = 0.0
        self._read = 0.0
        self._forgot = time.monotonic()

    @property
    def redis(self) -> RedisStatus | None:
        return self._state.redis

    async def run(self) -> None:
        """Never ends by itself: without it, HAProxy limits by what it knows."""
        while True:
            started = time.monotonic()
            try:
                await self._adopt(self._haproxy.inputs.settings)
                if self._limits:
                    await self.tick()
            except RuntimeApiError as error:
                log.debug("the limits were not settled: %s", error)
                self._everything = True
            except Exception:
                log.exception("the limits were not settled")
                self._everything = True
            interval = INTERVAL if self.redis else INTERVAL_ALONE
            await asyncio.sleep(max(interval / 4, started + interval - time.monotonic()))

    async def _adopt(self, settings: Settings) -> None:
        """Work with other settings than before."""
        if settings is self._settings:
            return
        before, self._settings = self._settings, settings
        self._limits = {limit.table: limit for limit in settings.limits}
        self._known = {table: self._known.get(table, {}) for table in self._limits}
        shared = self._limits and settings.redis
        if not shared or before is None or before.redis != settings.redis:
            self._state.redis = RedisStatus() if shared else None
            if self._ledger:
                await self._ledger.close()
            self._ledger = None
        self._map = read_map(self._files.map) or fresh_map()
        self._everything = True

    async def tick(self) -> None:
        late = time.monotonic() - self._read > ACTIVE_SECONDS
        everything, self._everything = self._everything or late, False
        self._read = time.monotonic()
        snapshot = parse(await self._api.ask(reading(self._limits.values(), everything=everything)))
        if snapshot.process != self._process:
            await self._take_up(snapshot)
        self._remember(snapshot)
        self._count(snapshot)
        await self._share(snapshot, everything=everything)
        if time.monotonic() - self._forgot > FORGET_SECONDS:
            self._forget()

    async def _take_up(self, snapshot: Snapshot) -> None:
        """Another HAProxy than before, with empty tables: what the last one counted is to it the count of others."""
        if self._process:
            commands = []
            for table, keys in self._known.items():
                login = self._limits[table].kind == "login"
                for key, known in keys.items():
                    known.own, known.others, known.told = 0, known.own + known.others, 0
                    if known.others > 0:
                        commands.append(setting(table, key, **{"gpt0" if login else "gpc1": known.others}))
            await self._tell(commands)
            log.info("the limits' counts are handed to a new HAProxy", extra={"fields": {"keys": len(commands)}})
            self._gone = self._process
        self._process = snapshot.process
        self._counted, self._attempts = {}, {}
        # The files that it has read may be older than what was set since.
        await self._set_map(self._map, force=True)
        self._address, self._resolved = None, 0.0
        self._everything = True

    def _remember(self, snapshot: Snapshot) -> None:
        for table, limit in self._limits.items():
            for key, row in snapshot.rows.get(table, {}).items():
                known = self._known[table].setdefault(key, _Known())
                if limit.kind == "login":
                    known.own, known.others = row.own - row.others, row.may
                else:
                    if row.own > known.own:
                        metrics.LIMITED_REQUESTS.labels(limit.kind, "admitted").inc(row.own - known.own)
                    known.own, known.others = row.own, max(row.others, known.others)

    def _count(self, snapshot: Snapshot) -> None:
        refused = {f"refused {kind}": row.own for kind, row in snapshot.rows.get("limit_refused", {}).items()}
        for name, count in (refused | snapshot.questions).items():
            new = count - self._counted.get(name, 0)
            if new > 0:
                kind = name.removeprefix("refused ")
                if kind != name:
                    metrics.LIMITED_REQUESTS.labels(kind, "refused").inc(new)
                else:
                    metrics.LIMIT_QUESTIONS.labels(name).inc(new)
            self._counted[name] = count

    async def _share(self, snapshot: Snapshot, *, everything: bool) -> None:
        settings = self._settings
        if settings is None or settings.redis is None or self.redis is None:
            return
        started = time.monotonic()
        try:
            ledger = await self._connect(settings, settings.redis)
            await self._settle(ledger, snapshot, everything=everything)
            await self._tell_attempts(ledger, snapshot)
        except (LedgerError, OSError, TimeoutError) as error:
            answers = isinstance(error, LedgerError) and error.answers
            self._failed("degraded" if answers else "down", str(error))
            self._resolved = 0.0
            await self._set_map({"shared": 0})
            return
        metrics.LIMIT_SETTLEMENTS.observe(time.monotonic() - started)
        if self.redis.status != "up":
            log.info("the limits are shared through Redis", extra={"fields": {"live": self._live}})
            self._everything = True  # what was counted while it took its time
        self.redis.status, self.redis.error, self.redis.settled = "up", None, time.monotonic()
        await self._set_map({"shared": 1})

    def _failed(self, status: str, error: str) -> None:
        assert self.redis is not None  # noqa: S101
        metrics.REDIS_ERRORS.inc()
        if (self.redis.status, self.redis.error) != (status, error):
            log.warning("the limits are counted by this gateway alone", extra={"fields": {"redis": error}})
        self.redis.status, self.redis.error = status, error
        self._everything = True  # what is counted meanwhile is to be told

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
        """Tell HAProxy where Redis is: it asks no names itself."""
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
            await self._api.ask(
                f"set server limits_redis/redis addr {self._address} port {redis.port}; "
                "set server limits_redis/redis state ready"
            )

    async def _settle(self, ledger: Ledger, snapshot: Snapshot, *, everything: bool) -> None:
        epoch = self._map["epoch"]
        rows = list(self._to_tell(snapshot))
        counts = [
            Count(f"{limit.kind}:{key}", own, limit.most, limit.seconds)
            for table, key, own in rows
            for limit in (self._limits[table],)
        ]
        settled = await ledger.settle(self._process, epoch, self._cursor, counts, gone=self._gone)
        self._gone = ""
        if settled.epoch != epoch:
            await self._begin(ledger, settled.epoch)
            if epoch:
                return
        if settled.live != self._live:
            self._live = settled.live
            self._everything = True  # every share is another now
            await self._set_map({limit.kind: 1 + self._share_of(limit.most) for limit in self._rates})
        self._cursor = settled.cursor
        news: dict[tuple[str, str], int] = {}
        if everything:
            news = {
                (limit.table, key): self._known[limit.table][key].others
                for limit in self._rates
                for key in snapshot.rows.get(limit.table, {})
            }
        for name, others in settled.hot:
            kind, _, key = name.partition(":")
            news |= {(limit.table, key): others for limit in self._rates if limit.kind == kind}
        for (table, key, own), others in zip(rows, settled.others, strict=True):
            news[table, key] = others
            self._known[table][key].told = own
        await self._tell(self._news(snapshot, news))

    def _to_tell(self, snapshot: Snapshot) -> Iterator[tuple[str, str, int]]:
        """Yield what was admitted here and Redis does not know yet."""
        for limit in self._rates:
            for key, row in snapshot.rows.get(limit.table, {}).items():
                told = self._known[limit.table][key].told
                # Of a closed key some were refused, and Redis knows; unless it has forgotten.
                own = row.own if row.may != CLOSED or not told else 0
                if own > told:
                    yield limit.table, key, own

    def _news(self, snapshot: Snapshot, others: dict[tuple[str, str], int]) -> Iterator[str]:
        """Yield what HAProxy is to know: how much the others counted, and how far it may go by itself."""
        for (table, key), count in others.items():
            limit = self._limits[table]
            row = snapshot.rows.get(table, {}).get(key) or Row()
            known = self._known[table].setdefault(key, _Known())
            known.others = count
            may = 1 + known.told + self._share_of(limit.most - known.told - count)
            news = {}
            if row.others != count:
                news["gpc1"] = count
            if row.may != CLOSED and (row.may or self._map[limit.kind]) != may:
                news["gpt0"] = may
            if news:
                yield setting(table, key, **news)

    @property
    def _rates(self) -> list[Limit]:
        return [limit for limit in self._limits.values() if limit.kind != "login"]

    def _share_of(self, left: int) -> int:
        """What one gateway may admit without asking, so that all together stay within half of what is left."""
        if self._live <= 1:
            return max(0, left)
        return max(0, left) // (2 * self._live)

    async def _tell_attempts(self, ledger: Ledger, snapshot: Snapshot) -> None:
        for table, limit in self._limits.items():
            if limit.kind != "login":
                continue
            attempts = {key: row.own - row.others for key, row in snapshot.rows.get(table, {}).items()}
            new = {key: count for key, count in attempts.items() if count != self._attempts.get(key, 0)}
            if new:
                await ledger.tell_attempts(self._process, new, limit.seconds)
                self._attempts |= new

    async def _begin(self, ledger: Ledger, epoch: int) -> None:
        """Redis counts anew."""
        run_id = await ledger.run_id()
        if self._map["epoch"]:
            self._attempts = {}
            self._cursor = 0
            self._everything = True
            if run_id == self._run_id or not self._run_id:
                log.warning("the counts in Redis were deleted: everybody starts anew")
                await self._reset()
            else:
                # It was restarted and has lost them: they are told again.
                log.warning("Redis has lost its counts")
                for keys in self._known.values():
                    for known in keys.values():
                        known.told = 0
        self._run_id = run_id
        await self._set_map({"epoch": epoch})

    async def _reset(self) -> None:
        for table in self._limits:
            await self._api.ask(f"clear table {table}")
            # What a request holds right now is not removed.
            left = parse(await self._api.ask(f"show table {table}")).rows.get(table, {})
            await self._tell(setting(table, key, gpt0=0, gpc0=0, gpc1=0) for key in left)
            self._known[table] = {}

    async def _set_map(self, values: dict[str, int], *, force: bool = False) -> None:
        new = {key: value for key, value in values.items() if force or self._map.get(key) != value}
        if not new or self.redis is None:
            return
        await self._tell(f"set map {self._files.map} {key} {value}" for key, value in new.items())
        self._map |= new
        files.write(self._files.map, map_text(self._map))

    async def _tell(self, commands: Iterable[str]) -> None:
        for line in batches(commands):
            answer = await self._api.ask(line)
            if answer:
                log.warning("HAProxy did not take a count: %s", answer.splitlines()[0])

    def _forget(self) -> None:
        """Windows that are over are of no interest any more."""
        self._forgot = time.monotonic()
        for table, keys in self._known.items():
            oldest = int(time.time()) // self._limits[table].seconds - 1
            for key in [key for key in keys if int(key.partition("/")[0]) < oldest]:
                del keys[key]
                self._attempts.pop(key, None)
