# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway: starts its tasks in order, watches them, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import uvicorn

from evenkeel_gateway import admin, identity, leader_jobs, logs, polling, secret_sources
from evenkeel_gateway.api import Api
from evenkeel_gateway.configuration import ConfigurationReloader
from evenkeel_gateway.database import DATABASE_ERRORS, Database, describe
from evenkeel_gateway.election import DatabaseElection, Listener, MemoryElection
from evenkeel_gateway.haproxy.lifecycle import Haproxy, HaproxyError
from evenkeel_gateway.health import GatewayState
from evenkeel_gateway.jobs import Jobs
from evenkeel_gateway.keyring import Keyring
from evenkeel_gateway.lease import LeaseStore, Timing
from evenkeel_gateway.limits import LimitSettlement
from evenkeel_gateway.migrations import migrate
from evenkeel_gateway.pod_mark import PodMark, pod_of
from evenkeel_gateway.rotation import Rotation
from evenkeel_gateway.secrets import SecretError
from evenkeel_gateway.supervisor import SUPERVISED
from evenkeel_gateway.tokens import TokenKeyError
from evenkeel_gateway.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from starlette.applications import Starlette

    from evenkeel_gateway.election import Election
    from evenkeel_gateway.identity import Identity
    from evenkeel_gateway.redaction import Redactor
    from evenkeel_gateway.secrets import Secrets
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 3.0
RESIGN_SECONDS = 5.0
DATE_SECONDS = 1.0
_NOT_READY = (identity.IdentityError, SecretError, TokenKeyError, HaproxyError)


class _ControlServer(uvicorn.Server):
    """Uvicorn without signal handlers, as this module decides the order of stopping, and idle without requests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def main_loop(self) -> None:
        """Update the Date header; uvicorn's own loop also polls ten times a second for the end."""
        while not self._stopping.is_set():
            await self.on_tick(0)
            await polling.wait(self._stopping, DATE_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Gateway:
    def __init__(self, settings: Settings, redactor: Redactor) -> None:
        self._redactor = redactor
        self._state = GatewayState()
        self._stop = asyncio.Event()
        self._reloading: set[asyncio.Task[dict[str, Any]]] = set()
        self._start_settings = settings
        self._haproxy: Haproxy
        self._keyring: Keyring
        self._configuration: ConfigurationReloader
        self._rotation: Rotation

    @property
    def _settings(self) -> Settings:
        return self._haproxy.current.settings

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code."""
        with _runtime_dir(self._start_settings.runtime_dir) as runtime:
            haproxy = self._haproxy = Haproxy(
                self._start_settings, runtime, supervised=SUPERVISED in os.environ, redact=self._redactor.text
            )
            self._keyring = Keyring(haproxy, self._state, self._redactor)
            self._configuration = ConfigurationReloader(haproxy, self._state, self._settings_changed)
            self._rotation = Rotation(haproxy.current, self._state, self._redactor, self._secrets_changed)
            await haproxy.configure(self._keyring.prepare())
            self._listen_to_signals()
            servers = [
                _control_server(Api(self._state, haproxy).application(), runtime / "control.sock"),
                _control_server(admin.application(self._commands()), runtime / admin.SOCKET),
            ]
            tasks = {
                "control api": servers[0].serve(),
                "admin api": servers[1].serve(),
                "haproxy": haproxy.run(),
                "configuration": self._configuration.run(),
                "secrets": self._rotation.run(),
                "election": self._lead(),
                "limits": LimitSettlement(haproxy, self._state).run(),
                "traffic": Traffic(haproxy).run(),
                "stop": self._stop.wait(),
            }
            running = {name: asyncio.create_task(work, name=name) for name, work in tasks.items()}
            done, _ = await asyncio.wait(running.values(), return_when=asyncio.FIRST_COMPLETED)
            code = 0 if running["stop"] in done else _report(done)
            for name in ("configuration", "secrets", "limits", "stop"):
                running[name].cancel()
            if code and SUPERVISED in os.environ and haproxy.processes:
                await self._leave_haproxy(code)
            await self._drain(running["election"])
            running["traffic"].cancel()
            for server in servers:
                server.stop()
            await asyncio.gather(*running.values(), return_exceptions=True)  # reported above
        log.info("stopped", extra={"fields": {"exitCode": code}})
        return code

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)

    def _reload_soon(self) -> None:
        task = asyncio.create_task(self._reload(), name="SIGHUP")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    def _commands(self) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
        return {
            "drain": lambda: self._set_draining(draining=True),
            "undrain": lambda: self._set_draining(draining=False),
            "reload": self._reload,
            "status": self._status,
        }

    async def _set_draining(self, *, draining: bool) -> dict[str, Any]:
        log.info("draining" if draining else "draining ended")
        self._state.drain(draining=draining)
        await self._haproxy.drain(draining=draining)
        return await self._status()

    async def _reload(self) -> dict[str, Any]:
        problem = await self._configuration.refresh()
        stale = await self._rotation.refresh() if self._state.secrets else None
        return await self._status() | ({"error": problem or stale} if problem or stale else {})

    async def _status(self) -> dict[str, Any]:
        state = self._state
        return {
            "status": state.status,
            "reasons": state.reasons,
            "requestsInFlight": await self._haproxy.requests(),
            "haproxyProcesses": self._haproxy.processes,
            "configuration": state.configuration or self._haproxy.refused or "current",
        }

    async def _settings_changed(self, settings: Settings) -> None:
        logging.getLogger().setLevel(settings.log_level.upper())
        self._redactor.learn(*logs.secrets_of(settings))
        self._keyring.settings_changed()
        if self._state.secrets:
            await self._rotation.refresh()

    async def _secrets_changed(self, found: Secrets) -> None:
        """Pass new secrets on; the next database connection reads its password by itself."""
        await self._keyring.secrets_changed(found.values)

    async def _leave_haproxy(self, code: int) -> NoReturn:
        """Exit without stopping HAProxy: the next control plane takes it over."""
        log.critical("the control plane exits, HAProxy keeps serving", extra={"fields": {"exitCode": code}})
        await self._resign()
        # Not sys.exit: asyncio would kill its child processes.
        logging.shutdown()
        os._exit(code)

    async def _resign(self) -> None:
        election = self._state.election
        if election:
            resigning = asyncio.create_task(election.resign())
            # Not cancelled: a slow resignation must not hold up the requests in flight.
            await asyncio.wait({resigning}, timeout=RESIGN_SECONDS)

    async def _drain(self, leading: asyncio.Task[Any]) -> None:
        log.info("stopping", extra={"fields": {"inFlightGraceSeconds": self._settings.shutdown_grace_seconds}})
        self._state.drain(draining=True)
        await self._haproxy.drain(draining=True)
        await self._resign()
        leading.cancel()
        # Keep serving, so that a load balancer sees the 503 before connections are refused.
        await asyncio.sleep(max(0.0, self._settings.shutdown_delay_seconds - self._state.drained_seconds))
        await self._haproxy.stop()

    async def _lead(self) -> None:
        """Register this instance, then take part in the election; each step is retried until it succeeds."""
        state, settings = self._state, self._settings
        state.identity = await self._try("identity", lambda: asyncio.to_thread(identity.discover, settings))
        state.secrets = await self._try(
            "secret", lambda: asyncio.to_thread(secret_sources.load, settings, self._redactor)
        )
        for name in state.secrets.missing:
            log.error("secret missing", extra={"fields": {"name": name, "source": state.secrets.source}})
        await self._try("keys", lambda: self._keyring.start(state.secrets.values if state.secrets else {}))
        election = state.election = await self._join(state.identity, state.secrets)
        state.registered = True
        log.info("ready", extra={"fields": {"instanceId": state.identity.instance_id, "election": election.kind}})
        parts = [election.run(), self._keyring.run()]
        if state.secrets.conninfo:
            name = f"{settings.service_name} {state.identity.instance_id} jobs"
            parts.append(Jobs(election, Database(self._conninfo, name), leader_jobs.own(settings)).run())
            pod = pod_of(settings)
            if pod:
                parts.append(PodMark(election, pod, settings.pod_deletion_cost).run())
        await asyncio.gather(*parts)

    async def _join(self, me: Identity, known: Secrets) -> Election:
        if known.conninfo is None:
            log.warning(
                "NO DATABASE IS CONFIGURED: this instance is a single node and always the leader; "
                "set AWS_DB_SECRET_ARN, DATABASE_URL or DB_HOST to run several gateways"
            )
            return MemoryElection(me.instance_id)
        settings = self._settings
        name = f"{settings.service_name} {me.instance_id}"
        database = Database(self._conninfo, name)
        await self._try("database", lambda: migrate(database))
        timing = Timing.of(settings)
        store = LeaseStore(database, me, settings.gateway_version, timing)
        listener = Listener(self._direct_conninfo, f"{name} listen") if settings.db_listen else None
        election = DatabaseElection(store, me.instance_id, timing, listener)
        await self._try("database", election.evaluate)
        if settings.force_leader:
            await self._try("database", election.force)
        return election

    def _conninfo(self) -> str:
        """Return the current one: the password may have been rotated."""
        return (self._state.secrets and self._state.secrets.conninfo) or ""

    def _direct_conninfo(self) -> str:
        return secret_sources.direct_conninfo(self._settings, self._conninfo())

    async def _try(self, part: str, attempt: Callable[[], Awaitable[T]]) -> T:
        pause = RETRY_SECONDS
        while True:
            try:
                result = await attempt()
            except (*_NOT_READY, *DATABASE_ERRORS) as error:
                text = self._redactor.text(describe(error))
                if self._state.problems.get(part) != text:
                    log.warning("not ready", extra={"fields": {"part": part, "error": text}})
                self._state.problems[part] = text
            else:
                self._state.problems.pop(part, None)
                return result
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, RETRY_SECONDS_MAX)


def _control_server(application: Starlette, socket: Path) -> _ControlServer:
    config = uvicorn.Config(
        application,
        uds=str(socket),
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return _ControlServer(config)


def _report(done: Iterable[asyncio.Task[Any]]) -> int:
    for task in done:
        error = task.exception()
        if isinstance(error, HaproxyError):
            log.critical("%s", error)
        else:
            log.critical("a task ended unexpectedly: %s", task.get_name(), exc_info=error)
    return 1


@contextlib.contextmanager
def _runtime_dir(configured: str | None) -> Generator[Path, None, None]:
    if configured:
        with _alone(Path(configured)):
            yield Path(configured)
        return
    path = Path(tempfile.mkdtemp(prefix="evenkeel-gateway-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _alone(runtime: Path) -> Generator[None, None, None]:
    """Lock the directory: two gateways in one would take over each other's sockets and processes."""
    try:
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (runtime / "lock").open("w")
    except OSError as error:
        raise HaproxyError(f"RUNTIME_DIR={runtime}: not writable: {error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HaproxyError(f"RUNTIME_DIR={runtime}: another gateway uses it; give each its own") from None
        yield
