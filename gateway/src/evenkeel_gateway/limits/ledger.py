# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared counts in Redis."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.settings.redis import RedisAddress

TIMEOUT = 1.0
LIVE_SECONDS = 5
HOT_MOST = 1000
BATCH = 500
_SCRIPTS = Path(__file__).parent / "scripts"


class LedgerError(Exception):
    """A command failed; `answers` says whether Redis is reachable at all."""

    def __init__(self, text: str, *, answers: bool) -> None:
        super().__init__(text)
        self.answers = answers


@dataclass(frozen=True)
class Count:
    """The count of this process for a key."""

    name: str
    own: int
    limit: int
    seconds: int


@dataclass(frozen=True)
class Settlement:
    epoch: int
    """If it is not the one that was sent, nothing was counted."""
    live: int = 0
    cursor: int = 0
    others: Sequence[int] = ()
    hot: Sequence[tuple[str, int]] = ()


class Ledger:
    def __init__(self, settings: Settings, address: RedisAddress, password: str | None) -> None:
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": settings.redis_ca_file} if address.tls else {}
        self._redis = Redis(
            host=address.host,
            port=address.port,
            db=address.database,
            username=address.username,
            password=password,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **tls,
        )
        self._prefix = settings.redis_prefix
        self._hot_ms = 1000 * max(limit.seconds for limit in settings.limits)
        self._settle = self._redis.register_script((_SCRIPTS / "settle.lua").read_bytes())

    async def settle(
        self, process: str, epoch: int, cursor: int, counts: Sequence[Count], *, gone: str = ""
    ) -> Settlement:
        others: list[int] = []
        hot: list[tuple[str, int]] = []
        for start in range(0, max(1, len(counts)), BATCH):
            batch = counts[start : start + BATCH]
            keys = [self._prefix + name for name in ("epoch", "live", "hot")]
            keys += [self._prefix + count.name for count in batch]
            # A new epoch gets an unused number, also after everything was deleted.
            arguments: list[Any] = [epoch or "", time.time_ns(), process]
            arguments += [LIVE_SECONDS * 1000, self._hot_ms, cursor, HOT_MOST, self._prefix, gone]
            for count in batch:
                arguments += [count.name, count.own, count.limit, count.seconds * 1000]
            answer = await self._do(self._settle(keys, arguments))
            if len(answer) == 1:
                return Settlement(int(answer[0]))
            epoch, live, cursor = int(answer[0]), int(answer[1]), int(answer[2])
            others += answer[3]
            names = iter(answer[4])
            hot += [(name.decode(), count) for name, count in zip(names, names, strict=True)]
        return Settlement(epoch, live, cursor, others, hot)

    async def tell_attempts(self, process: str, attempts: dict[str, int], seconds: int) -> None:
        """Store the failed logins, certain or possible, that were counted here without Redis."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, count in attempts.items():
                pipeline.hset(f"{self._prefix}login:{key}", f"p:{process}", str(count))
                pipeline.pexpire(f"{self._prefix}login:{key}", seconds * 1000)
            await self._do(pipeline.execute())

    async def run_id(self) -> str:
        """Return an id that changes when Redis restarts."""
        return str((await self._do(self._redis.info("server")))["run_id"])

    async def _do(self, work: Any) -> Any:
        try:
            # The client's time-outs are per read; this one is for the whole command.
            async with asyncio.timeout(2 * TIMEOUT):
                return await work
        except (RedisTimeoutError, TimeoutError):
            await self.reconnect()
            raise LedgerError(f"no answer within {TIMEOUT} s", answers=True) from None
        except RedisConnectionError as error:
            await self.reconnect()
            # Wrong passwords are a subclass, too.
            refused = type(error) is not RedisConnectionError
            raise LedgerError(str(error) or type(error).__name__, answers=refused) from None
        except (RedisError, OSError) as error:
            # After a failover the old connection may lead to a replica.
            await self.reconnect()
            raise LedgerError(f"{type(error).__name__}: {error}", answers=True) from None

    async def reconnect(self) -> None:
        await self._redis.connection_pool.disconnect()

    async def close(self) -> None:
        await self._redis.aclose()
