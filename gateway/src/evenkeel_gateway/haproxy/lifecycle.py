# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps HAProxy running: configures, starts, reloads, restarts and stops it without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evenkeel_gateway import metrics
from evenkeel_gateway.current import Current
from evenkeel_gateway.haproxy import server_states, usage
from evenkeel_gateway.haproxy.addresses import Addresses
from evenkeel_gateway.haproxy.limits import LimitFiles
from evenkeel_gateway.haproxy.new_servers import NewServers
from evenkeel_gateway.haproxy.render import Inputs, render
from evenkeel_gateway.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from evenkeel_gateway.haproxy.worker import CONFIGURATION, SOCKET, HaproxyCrashError, HaproxyError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.tokens import Keys

__all__ = ["Haproxy", "HaproxyError"]

log = logging.getLogger(__name__)

STABLE_SECONDS = 10.0
RESTART_PAUSE = 0.2
RESTART_PAUSE_MAX = 5.0
# Each may still serve long downloads; more at once would take too much memory.
MAX_RETIRED = 4
QUIET_SECONDS = 1.0
CURRENT = "current"
_FOLDER = "haproxy."
_INFO = {
    "connections": "CurrConns",
    "connections_max": "Maxconn",
    "uptime_seconds": "Uptime_sec",
    "idle_percent": "Idle_pct",
    "requests": "CumReq",
}


@dataclass
class _ReloadRequest:
    """The inputs that a caller of `reload` wants to change."""

    values: dict[str, Any]
    done: bool = False
    error: HaproxyError | None = field(default=None)


class Haproxy:
    """The current HAProxy process, the replaced ones that finish their requests, and their inputs."""

    def __init__(
        self,
        settings: Settings,
        runtime: Path,
        *,
        supervised: bool = False,
        redact: Callable[[str], str] = str,
    ) -> None:
        """`redact` removes secrets from HAProxy's messages, which quote its configuration."""
        self.runtime = runtime
        self.current = Current(settings)
        self._inputs = Inputs(settings, runtime, runtime)
        self.api = RuntimeApi(runtime / CURRENT / SOCKET)
        self._refused: str | None = None
        self._undone: str | None = None
        self.replaced = asyncio.Event()
        """Set when a new process serves; the waiting task clears it."""
        self._supervised = supervised
        self._redact = redact
        self._stopping = False
        self._worker: Worker | None = None
        self._retired: list[Worker] = []
        self._before: Inputs | None = None
        self._requests: list[_ReloadRequest] = []
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._new_servers = NewServers(self.api)
        self._addresses = Addresses(self.api, self._new_servers)

    @property
    def inputs(self) -> Inputs:
        """The inputs of the current process."""
        return self._inputs

    def _put_in_force(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self.current.replace(inputs.settings, inputs.keys)

    @property
    def refused(self) -> str | None:
        """Why the last reload was refused or undone; None after a successful one."""
        return self._refused or self._undone

    async def configure(self, keys: Keys | None = None) -> None:
        """Write the first configuration and check it; raises HaproxyError."""
        inputs = self._inputs if keys is None else replace(self._inputs, keys=keys)
        self._put_in_force(await self._prepare(inputs))

    async def reload(self, **changes: Any) -> None:
        """Reload with other inputs, as in `reload(keys=keys)`, or with the same ones rendered again.

        No request is lost. Raises HaproxyError if HAProxy refuses them; the previous inputs then stay in force. Calls
        during a reload share the next one.
        """
        request = _ReloadRequest(changes)
        self._requests.append(request)
        async with self._turn:
            if not request.done:
                requests, self._requests = self._requests, []
                await self._apply_all(requests)
        if request.error:
            raise request.error

    async def _apply_all(self, requests: list[_ReloadRequest]) -> None:
        error = await self._apply({name: value for request in requests for name, value in request.values.items()})
        for request in requests:
            # One invalid request must not block the others.
            request.error = await self._apply(request.values) if error and len(requests) > 1 else error
            request.done = True

    async def _apply(self, values: dict[str, Any]) -> HaproxyError | None:
        before = self._inputs
        try:
            inputs = await self._prepare(replace(before, **values))
            if self._worker and not self._stopping:
                await self._replace(self._worker, inputs)
        except HaproxyError as error:
            self._refused = self._redact(str(error))
            metrics.RELOADS.labels("refused").inc()
            fields = {"error": str(error)}
            log.error("reload refused, the previous configuration stays in force", extra={"fields": fields})  # noqa: TRY400
            return error
        self._refused = None
        if "settings" in values:
            self._undone = None
        self._put_in_force(inputs)
        self._before = before
        if self._worker is None:
            shutil.rmtree(before.folder, ignore_errors=True)
        metrics.RELOADS.labels("done").inc()
        log.info("reloaded", extra={"fields": {"generation": inputs.folder.name}})
        return None

    async def _prepare(self, inputs: Inputs) -> Inputs:
        """Write a new directory for these inputs and check it; raises HaproxyError."""
        await self._addresses.resolve(inputs.settings.routes)
        for host in self._addresses.unresolved(inputs.settings.routes):
            log.warning("the upstream's name has no address yet", extra={"fields": {"upstream": host}})
        try:
            LimitFiles(inputs.runtime).prepare(inputs.settings)
            folder = _new_folder(inputs.runtime)
            inputs = replace(inputs, folder=folder, addresses=self._addresses.found)
            for name, text in (render(inputs) | {server_states.FILE: await self._server_states(inputs)}).items():
                (folder / name).touch(mode=0o600)
                (folder / name).write_text(text)
        except OSError as error:
            raise HaproxyError(f"RUNTIME_DIR={inputs.runtime}: not writable: {error}") from None
        try:
            await asyncio.to_thread(_check, inputs)
        except HaproxyError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise HaproxyError(self._redact(str(error))) from None
        return inputs

    async def _server_states(self, inputs: Inputs) -> str:
        if self._worker:
            with contextlib.suppress(RuntimeApiError):
                text = await self._worker.api.ask("show servers state")
                return server_states.handed_on(text, self._inputs.settings.routes, inputs)
        return server_states.NONE

    async def _replace(self, old: Worker, inputs: Inputs) -> None:
        new = self._new_worker(inputs)
        try:
            await new.start(None if old.ended.done() else old)
        except HaproxyError:
            shutil.rmtree(inputs.folder, ignore_errors=True)
            raise
        self._serves(new)
        await self._retire(old)

    def _new_worker(self, inputs: Inputs) -> Worker:
        return Worker(inputs, orphan=self._supervised)

    def _serves(self, worker: Worker) -> None:
        self._worker = worker
        self._link(worker)
        self._addresses.started_with(worker.inputs.addresses)
        self._new_servers.begin(server_states.with_address(worker.inputs), server_states.read(worker.inputs.folder))
        self.replaced.set()

    def _link(self, worker: Worker) -> None:
        link = worker.inputs.runtime / f"{CURRENT}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(worker.inputs.folder.name)
        link.rename(worker.inputs.runtime / CURRENT)

    async def _retire(self, worker: Worker) -> None:
        await worker.retire()
        self._retired.append(worker)
        task = asyncio.create_task(self._end_after_grace(worker), name=f"haproxy {worker.pid} is retired")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for oldest in self._retired[:-MAX_RETIRED]:
            log.warning(
                "too many reloads within the grace, stopping the oldest HAProxy",
                extra={"fields": oldest.fields},
            )
            await oldest.end()

    async def _end_after_grace(self, worker: Worker) -> None:
        _, late = await asyncio.wait({worker.ended}, timeout=worker.inputs.settings.reload_grace_seconds)
        if late:
            log.warning("RELOAD_GRACE_SECONDS is over, stopping the replaced HAProxy", extra={"fields": worker.fields})
            await worker.end()
        self._retired.remove(worker)
        shutil.rmtree(worker.inputs.folder, ignore_errors=True)

    async def run(self) -> None:
        """Keep HAProxy running until it is stopped."""
        async with self._turn:
            await self._first()
        followers = [asyncio.create_task(self._follow_addresses()), asyncio.create_task(self._new_servers.run())]
        try:
            await self._watch()
        finally:
            for follower in followers:
                follower.cancel()

    async def _first(self) -> None:
        """Start HAProxy, or take over the process that a previous control plane left."""
        runtime, predecessor = self._inputs.runtime, None
        left = []
        for folder in runtime.glob(f"{_FOLDER}*"):
            worker = Worker.found(replace(self._inputs, folder=folder))
            if worker:
                left.append(worker)
            elif folder != self._inputs.folder:
                shutil.rmtree(folder, ignore_errors=True)
        for worker in left:
            with contextlib.suppress(RuntimeApiError):
                await worker.api.ask("show info")
                predecessor = worker
        first = self._new_worker(self._inputs)
        if not predecessor:
            self._link(first)  # its first client may request /health/detailed
        with contextlib.suppress(HaproxyCrashError):  # restarted by _watch
            await first.start(predecessor)
        self._serves(first)
        for worker in left:
            log.info("taking over", extra={"fields": worker.fields})
            await self._retire(worker)

    async def _watch(self) -> None:
        pause, since = RESTART_PAUSE, asyncio.get_running_loop().time()
        while self._worker:
            worker = self._worker
            code = await asyncio.shield(worker.ended)
            now = asyncio.get_running_loop().time()
            async with self._turn:
                if self._stopping:
                    log.info("haproxy stopped", extra={"fields": {"exitCode": code}})
                    return
                if worker is not self._worker:
                    pause, since = RESTART_PAUSE, now
                    continue
                metrics.HAPROXY_RESTARTS.inc()
                lived = now - since
                pause = RESTART_PAUSE if lived > STABLE_SECONDS else min(pause * 2, RESTART_PAUSE_MAX)
                log.error(
                    "haproxy exited unexpectedly, restarting it", extra={"fields": {"exitCode": code, "in": pause}}
                )
                await asyncio.sleep(pause)
                since = asyncio.get_running_loop().time()
                await self._restart(code, lived)

    async def _restart(self, code: int, lived: float) -> None:
        """Restart with the same inputs, or with the previous ones if it died soon after a reload."""
        if self._before and lived < STABLE_SECONDS:
            self._undone = f"HAProxy exited with code {code} within {STABLE_SECONDS:.0f} s of the reload"
            metrics.RELOADS.labels("fell_back").inc()
            log.error("falling back to the previous configuration", extra={"fields": {"error": self._undone}})
            self._put_in_force(self._before)
            self._before = None
        dead = self._worker
        with contextlib.suppress(HaproxyError):  # retried until it succeeds
            self._put_in_force(await self._prepare(self._inputs))
        worker = self._new_worker(self._inputs)
        try:
            await worker.start(None)
        except HaproxyError as error:
            log.error("%s", error)  # noqa: TRY400
        self._serves(worker)
        if dead and dead.inputs.folder != worker.inputs.folder:
            shutil.rmtree(dead.inputs.folder, ignore_errors=True)

    async def _follow_addresses(self) -> None:
        """Resolve the upstreams' names at an interval, and update HAProxy."""
        while True:
            await asyncio.sleep(self._addresses.pause(self.current.settings.routes))
            async with self._turn:
                routes = self.current.settings.routes
                await self._addresses.resolve(routes)
                updated = await self._addresses.update(routes)
            if not updated:
                with contextlib.suppress(HaproxyError):  # logged
                    await self.reload()

    async def drain(self, *, draining: bool) -> None:
        """Have clients close their connections, or stop that; requests are still served. Reloads keep it."""
        async with self._turn:
            self._inputs = replace(self._inputs, draining=draining)
            value = str(draining).lower()
            with contextlib.suppress(RuntimeApiError):  # a new process reads it from its configuration
                await self.api.ask(f"experimental-mode on; set var proc.draining bool({value})")

    async def requests(self) -> int | None:
        """Return the number of requests in flight."""
        workers = [worker for worker in (*self._retired, self._worker) if worker and not worker.ended.done()]
        try:
            return sum([await worker.requests() for worker in workers])
        except RuntimeApiError:
            return None

    async def figures(self) -> dict[str, float]:
        """Return HAProxy's own figures by name of the metric."""
        workers = [worker for worker in (*self._retired, self._worker) if worker and not worker.ended.done()]
        figures: dict[str, float] = {"up": 0, "memory_bytes": sum(usage.memory(worker.pid) for worker in workers)}
        if self._worker:
            figures["cpu_seconds"] = usage.processor_seconds(self._worker.pid)
        with contextlib.suppress(RuntimeApiError):
            info = dict(line.partition(": ")[::2] for line in (await self.api.ask("show info")).splitlines())
            figures |= {name: float(info[field]) for name, field in _INFO.items()} | {"up": 1}
        return figures

    @property
    def processes(self) -> int:
        """The number of processes, including replaced ones that finish their requests."""
        return len(self._retired) + bool(self._worker and not self._worker.ended.done())

    async def stop(self) -> None:
        """Take no new connections; return when the last request is answered or the grace is over."""
        self._stopping = True
        async with self._turn:
            workers = [*self._retired, *([self._worker] if self._worker else [])]
            grace = self.current.settings.shutdown_grace_seconds
            await asyncio.gather(*(worker.stop(grace, QUIET_SECONDS) for worker in workers))
        for task in tuple(self._tasks):
            await task


def _new_folder(runtime: Path) -> Path:
    numbers = [int(path.suffix[1:]) for path in runtime.glob(f"{_FOLDER}*") if path.suffix[1:].isdigit()]
    folder = runtime / f"{_FOLDER}{max(numbers, default=0) + 1}"
    folder.mkdir(mode=0o700)  # it holds keys
    return folder


def _check(inputs: Inputs) -> None:
    binary = shutil.which(inputs.settings.haproxy_binary)
    if binary is None:
        raise HaproxyError(f"HAPROXY_BINARY={inputs.settings.haproxy_binary}: not found; install HAProxy 2.6 or newer")
    path = inputs.folder / CONFIGURATION
    done = subprocess.run(  # noqa: S603
        [binary, "-c", "-f", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise HaproxyError(f"haproxy refuses {path}:\n{done.stdout}{done.stderr}")
