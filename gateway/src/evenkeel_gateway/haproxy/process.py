# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy kept running: configured, watched, replaced without a lost request, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenkeel_gateway import metrics
from evenkeel_gateway.haproxy.names import allot, empty, resolve, servers
from evenkeel_gateway.haproxy.newcomers import Newcomers
from evenkeel_gateway.haproxy.render import Inputs, render
from evenkeel_gateway.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from evenkeel_gateway.haproxy.worker import CONFIGURATION, SOCKET, HaproxyCrashError, HaproxyError, Worker
from evenkeel_gateway.limits.rendering import Files

if TYPE_CHECKING:
    from collections.abc import Callable

    from evenkeel_gateway.haproxy.names import Slots
    from evenkeel_gateway.haproxy.newcomers import Key
    from evenkeel_gateway.settings import Route, Settings

__all__ = ["Haproxy", "HaproxyError"]

log = logging.getLogger(__name__)

RESOLVE_SECONDS = 10.0
STABLE_SECONDS = 10.0
RESTART_PAUSE = 0.2
RESTART_PAUSE_MAX = 5.0
# Each may have its own long downloads; more at once are memory that nobody planned for.
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
_STATES = "servers.state"
_NO_STATES = "1\n"
# The columns of "show servers state".
_BACKEND, _SERVER, _ADDRESS, _ADMINISTRATIVE_STATE = 1, 3, 4, 6


@dataclass
class _Change:
    """What somebody wants other inputs to be."""

    values: dict[str, Any]
    done: bool = False
    error: HaproxyError | None = field(default=None)


class Haproxy:
    """The one that serves, those that it replaced and that finish what they have, and what they were made from."""

    def __init__(
        self,
        settings: Settings,
        runtime: Path,
        *,
        supervised: bool = False,
        redact: Callable[[str], str] = str,
    ) -> None:
        """`redact` takes the secrets out of what HAProxy says of its configuration, which quotes it."""
        self.inputs = Inputs(settings, runtime, runtime)
        self.api = RuntimeApi(runtime / CURRENT / SOCKET)
        self._refused: str | None = None
        self._undone: str | None = None
        self.replaced = asyncio.Event()
        """Another process serves than before; cleared by who waits for it."""
        self._supervised = supervised
        self._redact = redact
        self._stopping = False
        self._worker: Worker | None = None
        self._retired: list[Worker] = []
        self._before: Inputs | None = None
        self._changes: list[_Change] = []
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: dict[str, Slots] = {}
        self._told: dict[str, Slots] = {}
        """What the one that serves knows of them."""
        self._newcomers = Newcomers(self.api)

    @property
    def refused(self) -> str | None:
        """Why the last reload was refused, or one undone, until there is another."""
        return self._refused or self._undone

    async def configure(self) -> None:
        """Write the configuration and have it checked; raises HaproxyError."""
        self.inputs = await self._prepare(self.inputs)

    async def reload(self, **changes: Any) -> None:
        """Serve on with other inputs, as in `reload(keys=keys)`, or with the same ones rendered again.

        Not one request is lost. Raises HaproxyError where HAProxy refuses them; the old ones then serve on, and the
        inputs stay what they were. Those who ask while a reload runs share the next one.
        """
        change = _Change(changes)
        self._changes.append(change)
        async with self._turn:
            if not change.done:
                changes_now, self._changes = self._changes, []
                await self._apply_all(changes_now)
        if change.error:
            raise change.error

    async def _apply_all(self, changes: list[_Change]) -> None:
        error = await self._apply({name: value for change in changes for name, value in change.values.items()})
        for change in changes:
            # One bad change must not stand in the way of the others.
            change.error = await self._apply(change.values) if error and len(changes) > 1 else error
            change.done = True

    async def _apply(self, values: dict[str, Any]) -> HaproxyError | None:
        before = self.inputs
        try:
            inputs = await self._prepare(replace(before, **values))
            if self._worker and not self._stopping:
                await self._replace(self._worker, inputs)
        except HaproxyError as error:
            self._refused = self._redact(str(error))
            metrics.RELOADS.labels("refused").inc()
            log.error("reload refused, the configuration before it serves on", extra={"fields": {"error": str(error)}})  # noqa: TRY400
            return error
        self._refused = None
        if "settings" in values:
            self._undone = None
        self.inputs, self._before = inputs, before
        if self._worker is None:
            shutil.rmtree(before.folder, ignore_errors=True)
        metrics.RELOADS.labels("done").inc()
        log.info("reloaded", extra={"fields": {"generation": inputs.folder.name}})
        return None

    async def _prepare(self, inputs: Inputs) -> Inputs:
        """Write a folder of its own for these inputs and have it checked."""
        await self._resolve(inputs.settings.routes)
        for host in self._unresolved(inputs.settings.routes):
            log.warning("the upstream's name has no address yet", extra={"fields": {"upstream": host}})
        try:
            Files(inputs.runtime).prepare(inputs.settings)
            folder = _new_folder(inputs.runtime)
            inputs = replace(inputs, folder=folder, addresses=dict(self._addresses))
            for name, text in (render(inputs) | {_STATES: await self._server_states(inputs)}).items():
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
        """Return what the servers are thought to be, so that an open circuit stays open; not for other addresses."""
        if self._worker is None:
            return _NO_STATES
        with contextlib.suppress(RuntimeApiError):
            before = {route.name: route.upstream for route in self.inputs.settings.routes}
            same = [route for route in inputs.settings.routes if before.get(route.name) == route.upstream]
            known = {
                (route.name, name): address for route in same for name, _, address in servers(route, inputs.addresses)
            }
            lines = (await self._worker.api.ask("show servers state")).splitlines()
            head, rows = lines[:2], [line.split(" ") for line in lines[2:]]
            kept = [row for row in rows if row[_ADDRESS] == known.get((row[_BACKEND], row[_SERVER]))]
            for row in kept:
                row[_ADMINISTRATIVE_STATE] = "0"  # that it had no address when its process started is over
            return "".join(f"{line}\n" for line in (*head, *(" ".join(row) for row in kept)))
        return _NO_STATES

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
        self._told = dict(worker.inputs.addresses)
        self._newcomers.begin(_servers(worker.inputs), _inherited(worker.inputs.folder))
        self.replaced.set()

    def _link(self, worker: Worker) -> None:
        link = worker.inputs.runtime / f"{CURRENT}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(worker.inputs.folder.name)
        link.rename(worker.inputs.runtime / CURRENT)

    async def _retire(self, worker: Worker) -> None:
        await worker.retire()
        self._retired.append(worker)
        task = asyncio.create_task(self._bury(worker), name=f"haproxy {worker.pid} is buried")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for oldest in self._retired[:-MAX_RETIRED]:
            log.warning("too many reloads within the grace: the oldest HAProxy ends", extra={"fields": oldest.fields})
            await oldest.end()

    async def _bury(self, worker: Worker) -> None:
        _, late = await asyncio.wait({worker.ended}, timeout=worker.inputs.settings.reload_grace_seconds)
        if late:
            log.warning("the grace after a reload is over, HAProxy ends", extra={"fields": worker.fields})
            await worker.end()
        self._retired.remove(worker)
        shutil.rmtree(worker.inputs.folder, ignore_errors=True)

    async def run(self) -> None:
        """Keep HAProxy running until it is stopped."""
        async with self._turn:
            await self._first()
        followers = [asyncio.create_task(self._follow_names()), asyncio.create_task(self._newcomers.run())]
        try:
            await self._watch()
        finally:
            for follower in followers:
                follower.cancel()

    async def _first(self) -> None:
        """Start, in the place of the one that a control plane before this one left, where there is one."""
        runtime, predecessor = self.inputs.runtime, None
        left = []
        for folder in runtime.glob(f"{_FOLDER}*"):
            worker = Worker.found(replace(self.inputs, folder=folder))
            if worker:
                left.append(worker)
            elif folder != self.inputs.folder:
                shutil.rmtree(folder, ignore_errors=True)
        for worker in left:
            with contextlib.suppress(RuntimeApiError):
                await worker.api.ask("show info")
                predecessor = worker
        first = self._new_worker(self.inputs)
        if not predecessor:
            self._link(first)  # its first client may ask what it says
        with contextlib.suppress(HaproxyCrashError):  # it is started again
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
                    "haproxy ended by itself, starting it again", extra={"fields": {"exitCode": code, "in": pause}}
                )
                await asyncio.sleep(pause)
                since = asyncio.get_running_loop().time()
                await self._restart(code, lived)

    async def _restart(self, code: int, lived: float) -> None:
        """Start it as it was, or, where it did not live long after a reload, as it was before that."""
        if self._before and lived < STABLE_SECONDS:
            self._undone = f"HAProxy ended (exit code {code}) within {STABLE_SECONDS:.0f} s of the reload"
            metrics.RELOADS.labels("fell_back").inc()
            log.error("back to the configuration before the last reload", extra={"fields": {"error": self._undone}})
            self.inputs, self._before = self._before, None
        dead = self._worker
        with contextlib.suppress(HaproxyError):  # tried again as long as it takes
            self.inputs = await self._prepare(self.inputs)
        worker = self._new_worker(self.inputs)
        try:
            await worker.start(None)
        except HaproxyError as error:
            log.error("%s", error)  # noqa: TRY400
        self._serves(worker)
        if dead and dead.inputs.folder != worker.inputs.folder:
            shutil.rmtree(dead.inputs.folder, ignore_errors=True)

    async def _follow_names(self) -> None:
        """Tell HAProxy where the upstreams are now."""
        while True:
            await asyncio.sleep(RESOLVE_SECONDS if self._unresolved(self.inputs.settings.routes) == [] else 1.0)
            async with self._turn:
                await self._resolve(self.inputs.settings.routes)
                changes = {
                    host: (told, slots)
                    for host, slots in self._addresses.items()
                    if (told := self._told.get(host) or empty(host)) != slots
                }
                room = all(len(told) == len(slots) for told, slots in changes.values())
                if room:
                    for host, (told, slots) in changes.items():
                        await self._set_addresses(host, told, slots)
            if not room:
                with contextlib.suppress(HaproxyError):  # logged
                    await self.reload()

    async def _set_addresses(self, host: str, told: Slots, slots: Slots) -> None:
        """First those that come: there is always one in service. Where some stay, the new ones must show themselves."""
        checked = any(address and address in told for address in slots)
        try:
            for wanted in (True, False):
                for route in self.inputs.settings.routes:
                    pairs = zip(servers(route, {host: told}), servers(route, {host: slots}), strict=True)
                    for (name, upstream, old), (_, _, new) in pairs:
                        if old == new or bool(new) is not wanted:
                            continue
                        if new:
                            await self.api.set_address(route.name, name, upstream.port, new, checked=checked)
                            self._newcomers.add((route.name, name))
                        else:
                            await self.api.take_out(route.name, name)
        except RuntimeApiError as error:
            fields = {"upstream": host, "error": str(error)}
            log.warning("the upstream's addresses are not set", extra={"fields": fields})  # they are tried again
        else:
            self._told[host] = slots
            addresses = [address for address in slots if address]
            log.info("the upstream's addresses are set", extra={"fields": {"upstream": host, "addresses": addresses}})

    def _unresolved(self, routes: tuple[Route, ...]) -> list[str]:
        return sorted(_hosts(routes) - self._addresses.keys())

    async def _resolve(self, routes: tuple[Route, ...]) -> None:
        """A name that has no address any more keeps the last ones: DNS may be what is broken."""
        for host, found in (await asyncio.to_thread(resolve, _hosts(routes))).items():
            if found:
                self._addresses[host] = allot(host, self._addresses.get(host, ()), found)

    async def drain(self, *, draining: bool) -> None:
        """Serve on, but have clients close their connections, or no more so; also after a reload."""
        async with self._turn:
            self.inputs = replace(self.inputs, draining=draining)
            value = str(draining).lower()
            with contextlib.suppress(RuntimeApiError):  # a new process is started with it
                await self.api.ask(f"experimental-mode on; set var proc.draining bool({value})")

    async def requests(self) -> int | None:
        """Return how many are in flight."""
        workers = [worker for worker in (*self._retired, self._worker) if worker and not worker.ended.done()]
        try:
            return sum([await worker.requests() for worker in workers])
        except RuntimeApiError:
            return None

    async def figures(self) -> dict[str, float]:
        """Return how HAProxy itself is doing, by the names of the metrics."""
        workers = [worker for worker in (*self._retired, self._worker) if worker and not worker.ended.done()]
        figures: dict[str, float] = {"up": 0, "memory_bytes": sum(_memory(worker.pid) for worker in workers)}
        if self._worker:
            figures["cpu_seconds"] = _processor_time(self._worker.pid)
        with contextlib.suppress(RuntimeApiError):
            info = dict(line.partition(": ")[::2] for line in (await self.api.ask("show info")).splitlines())
            figures |= {name: float(info[field]) for name, field in _INFO.items()} | {"up": 1}
        return figures

    @property
    def processes(self) -> int:
        """How many there are, with those that finish what they have."""
        return len(self._retired) + bool(self._worker and not self._worker.ended.done())

    async def stop(self) -> None:
        """No new connections; ends when the last request is answered, or the grace is over."""
        self._stopping = True
        async with self._turn:
            workers = [*self._retired, *([self._worker] if self._worker else [])]
            grace = self.inputs.settings.shutdown_grace_seconds
            await asyncio.gather(*(worker.stop(grace, QUIET_SECONDS) for worker in workers))
        for task in tuple(self._tasks):
            await task


def _hosts(routes: tuple[Route, ...]) -> set[str]:
    return {upstream.host for route in routes for upstream in route.upstreams}


def _servers(inputs: Inputs) -> set[Key]:
    """Return those that have an address."""
    return {
        (route.name, name)
        for route in inputs.settings.routes
        for name, _, address in servers(route, inputs.addresses)
        if address
    }


def _inherited(folder: Path) -> set[Key]:
    """Return those of which a process knew from the start what the one before it knew."""
    with contextlib.suppress(OSError):
        rows = [line.split(" ") for line in (folder / _STATES).read_text().splitlines()[2:]]
        return {(row[_BACKEND], row[_SERVER]) for row in rows}
    return set()


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _processor_time(pid: int) -> float:
    with contextlib.suppress(OSError):
        # After the name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _new_folder(runtime: Path) -> Path:
    numbers = [int(path.suffix[1:]) for path in runtime.glob(f"{_FOLDER}*") if path.suffix[1:].isdigit()]
    folder = runtime / f"{_FOLDER}{max(numbers, default=0) + 1}"
    folder.mkdir(mode=0o700)  # keys are in there
    return folder


def _check(inputs: Inputs) -> None:
    binary = shutil.which(inputs.settings.haproxy_binary)
    if binary is None:
        raise HaproxyError(f"HAPROXY_BINARY={inputs.settings.haproxy_binary}: not found; install haproxy 2.6 or newer")
    path = inputs.folder / CONFIGURATION
    done = subprocess.run(  # noqa: S603
        [binary, "-c", "-f", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise HaproxyError(f"haproxy refuses {path}:\n{done.stdout}{done.stderr}")
