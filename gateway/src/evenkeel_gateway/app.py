# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway: its parts started in order, watched, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn

from evenkeel_gateway import identity, secrets
from evenkeel_gateway.api import Api
from evenkeel_gateway.database import DATABASE_ERRORS, Database, describe
from evenkeel_gateway.election import DatabaseElection, Listener, MemoryElection
from evenkeel_gateway.haproxy.process import Haproxy, HaproxyError
from evenkeel_gateway.health import State
from evenkeel_gateway.lease import LeaseStore, Timing
from evenkeel_gateway.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from evenkeel_gateway.election import Election
    from evenkeel_gateway.identity import Identity
    from evenkeel_gateway.logs import Redactor
    from evenkeel_gateway.secrets import Secrets
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 10.0
RESIGN_SECONDS = 5.0


class _ControlServer(uvicorn.Server):
    """Uvicorn without signal handlers: the order of stopping is decided here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Gateway:
    def __init__(self, settings: Settings, redactor: Redactor) -> None:
        self._settings = settings
        self._redactor = redactor
        self._state = State()
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal says stop; the result is the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with _runtime_dir(self._settings.runtime_dir) as runtime:
            haproxy = Haproxy(self._settings, runtime)
            server = self._control_server(runtime, haproxy)
            await haproxy.configure()
            serving = asyncio.create_task(server.serve(), name="control api")
            proxying = asyncio.create_task(haproxy.run(), name="haproxy")
            leading = asyncio.create_task(self._lead(), name="election")
            stopping = asyncio.create_task(self._stop.wait(), name="stop")
            done, _ = await asyncio.wait({serving, proxying, leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            code = 0 if stopping in done else _report(done)
            await self._drain(haproxy, leading)
            stopping.cancel()
            server.should_exit = True
            with contextlib.suppress(Exception):  # reported above
                await asyncio.gather(serving, proxying)
        log.info("stopped", extra={"fields": {"exitCode": code}})
        return code

    async def _drain(self, haproxy: Haproxy, leading: asyncio.Task[None]) -> None:
        log.info("stopping", extra={"fields": {"inFlightGraceSeconds": self._settings.shutdown_grace_seconds}})
        self._state.draining = True
        election = self._state.election
        if election:
            resigning = asyncio.create_task(election.resign())
            # Not cancelled: what is not done by then must not hold up the requests in flight.
            await asyncio.wait({resigning}, timeout=RESIGN_SECONDS)
        leading.cancel()
        # Still serving, so that a load balancer sees the 503 before connections are refused.
        await asyncio.sleep(self._settings.shutdown_delay_seconds)
        await haproxy.stop()

    def _control_server(self, runtime: Path, haproxy: Haproxy) -> uvicorn.Server:
        config = uvicorn.Config(
            Api(self._settings, self._state, haproxy.api).application(),
            uds=str(runtime / "control.sock"),
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        return _ControlServer(config)

    async def _lead(self) -> None:
        """Everything between being started and being a member of the fleet; tried until it is done."""
        state, settings = self._state, self._settings
        state.identity = await self._try("identity", lambda: asyncio.to_thread(identity.discover, settings))
        state.secrets = await self._try("secret", lambda: asyncio.to_thread(secrets.load, settings, self._redactor))
        for name in state.secrets.missing:
            log.error("secret missing", extra={"fields": {"name": name, "source": state.secrets.source}})
        election = state.election = await self._join(state.identity, state.secrets)
        state.registered = True
        log.info("ready", extra={"fields": {"instanceId": state.identity.instance_id, "election": election.kind}})
        await election.run()

    async def _join(self, me: Identity, known: Secrets) -> Election:
        if known.conninfo is None:
            log.warning(
                "NO DATABASE IS CONFIGURED: this is a single node, its election is kept in memory and it leads always; "
                "set AWS_DB_SECRET_ARN, DATABASE_URL or DB_HOST for a fleet"
            )
            return MemoryElection(me.instance_id)
        settings = self._settings
        name = f"{settings.service_name} {me.instance_id}"
        database = Database(known.conninfo, name)
        await self._try("database", lambda: migrate(database))
        timing = Timing.of(settings)
        store = LeaseStore(database, me, settings.gateway_version, timing)
        direct = secrets.direct_conninfo(settings, known.conninfo)
        listener = Listener(direct, f"{name} listen") if settings.db_listen else None
        election = DatabaseElection(store, me.instance_id, timing, listener)
        await self._try("database", election.evaluate)
        if settings.force_leader:
            await self._try("database", election.force)
        return election

    async def _try(self, part: str, attempt: Callable[[], Awaitable[T]]) -> T:
        pause = RETRY_SECONDS
        while True:
            try:
                result = await attempt()
            except (identity.IdentityError, secrets.SecretError, *DATABASE_ERRORS) as error:
                text = self._redactor.text(describe(error))
                if self._state.problems.get(part) != text:
                    log.warning("not ready", extra={"fields": {"part": part, "error": text}})
                self._state.problems[part] = text
            else:
                self._state.problems.pop(part, None)
                return result
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, RETRY_SECONDS_MAX)


def _report(done: Iterable[asyncio.Task[Any]]) -> int:
    for task in done:
        error = task.exception()
        if isinstance(error, HaproxyError):
            log.critical("%s", error)
        else:
            log.critical("a part ended by itself: %s", task.get_name(), exc_info=error)
    return 1


@contextlib.contextmanager
def _runtime_dir(configured: str | None) -> Generator[Path, None, None]:
    if configured:
        yield Path(configured)
        return
    path = Path(tempfile.mkdtemp(prefix="evenkeel-gateway-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
