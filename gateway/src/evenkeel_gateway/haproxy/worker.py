# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HAProxy process: started, also beside the one that it replaces, and stopped softly."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from evenkeel_gateway.haproxy.runtime_api import RuntimeApi, RuntimeApiError

if TYPE_CHECKING:
    from evenkeel_gateway.haproxy.render import Inputs
    from evenkeel_gateway.haproxy.runtime_api import RuntimeApiSession

log = logging.getLogger(__name__)

START_SECONDS = 15.0
LEAVE_SECONDS = 0.25
END_SECONDS = 2.0
DEAF_SECONDS = 2.0
CONFIGURATION = "haproxy.cfg"
SOCKET = "haproxy.sock"
_HANDSHAKE = "reason: Layer6"
_HANDSHAKE_HINT = (
    " The TLS handshake with this upstream fails; GET /api/health/aggregate shows the reason. For a private CA set "
    "PROXY_CA_FILE or the route's ca_file."
)
_PID = "pid"
_PIPE = "traffic"
_PIPE_BYTES = 1 << 20


def open_pipe(runtime: Path) -> int:
    """Open the pipe on which HAProxy reports requests.

    All open it for reading and writing, so that it always has a reader, even without a control plane.
    """
    path = runtime / _PIPE
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # the system's limit is lower
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return pipe


class HaproxyError(Exception):
    """HAProxy is missing, refuses its configuration, or does not start."""


class HaproxyCrashError(HaproxyError):
    """HAProxy was killed by a signal; its configuration may be valid."""


class Worker:
    """A process with the configuration of one directory; `ended` is a task that returns its exit code."""

    def __init__(self, inputs: Inputs, *, orphan: bool) -> None:
        self.inputs = inputs
        self.api = RuntimeApi(inputs.folder / SOCKET)
        self.ended: asyncio.Task[int]
        self.retiring = False
        self._orphan = orphan
        self.pid = 0
        self._alerts: deque[str] = deque(maxlen=5)
        self._session: RuntimeApiSession | None = None
        self._leaving: asyncio.Task[None] | None = None

    @classmethod
    def found(cls, inputs: Inputs) -> Worker | None:
        """Return the running process of the directory that a previous control plane started, if any."""
        worker = cls(inputs, orphan=True)
        try:
            worker.pid = int((inputs.folder / _PID).read_text())
            command = Path(f"/proc/{worker.pid}/cmdline").read_bytes().split(b"\0")
            if str(inputs.folder / CONFIGURATION).encode() not in command:
                return None  # the pid was reused
            descriptor = os.pidfd_open(worker.pid)
        except (OSError, ValueError):
            return None
        worker.ended = asyncio.create_task(_watch_other(descriptor), name=f"haproxy {worker.pid}")
        return worker

    async def start(self, predecessor: Worker | None) -> None:
        """Start it and wait until it serves, beside a predecessor on the same sockets. Raises HaproxyError."""
        # No master process: the control plane takes its place, and 2.6's loses an early SIGUSR1.
        command = [self.inputs.settings.haproxy_binary, "-db", "-f", str(self.inputs.folder / CONFIGURATION)]
        if predecessor:
            # Not -sf: the old process is stopped only after this one has answered.
            command += ["-x", str(predecessor.inputs.folder / SOCKET)]
        setpriv = shutil.which("setpriv")
        if setpriv and not self._orphan:
            # Without a supervisor, HAProxy would outlive a killed control plane.
            command = [setpriv, "--pdeathsig", "USR1", "--", *command]
        # A session of its own: Ctrl-C reaches the control plane only, which stops HAProxy softly.
        traffic = open_pipe(self.inputs.runtime)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=traffic, stderr=asyncio.subprocess.PIPE, start_new_session=True
            )
        finally:
            os.close(traffic)
        self.pid = process.pid
        (self.inputs.folder / _PID).write_text(str(self.pid))
        self.ended = asyncio.create_task(self._watch(process), name=f"haproxy {self.pid}")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._answers()
        except TimeoutError:
            await self.end()
            raise HaproxyError(f"haproxy did not answer within {START_SECONDS:.0f} s of its start") from None

    async def _answers(self) -> None:
        while True:
            if self.ended.done():
                reason = " ".join(self._alerts) or f"exit code {self.ended.result()}"
                kind = HaproxyCrashError if self.ended.result() < 0 else HaproxyError
                raise kind(f"haproxy did not start: {reason}")
            try:
                await self.api.ask("show info")
            except RuntimeApiError:
                await asyncio.sleep(0.02)
            else:
                return

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        stderr = process.stderr
        assert stderr is not None  # noqa: S101
        while line := await stderr.readline():
            text = line.decode(errors="replace").strip()
            if _HANDSHAKE in text:
                text += _HANDSHAKE_HINT
            warns = text.startswith(("[WARNING]", "[ALERT]")) and not self.retiring
            log.log(logging.WARNING if warns else logging.DEBUG, "haproxy: %s", text)
            if text.startswith("[ALERT]"):
                self._alerts.append(text)
        return await process.wait()

    @property
    def fields(self) -> dict[str, object]:
        return {"pid": self.pid, "generation": self.inputs.folder.name}

    async def retire(self) -> None:
        """Stop softly: no new connections; it exits when the last client is gone."""
        if self.retiring or self.ended.done():
            return
        self.retiring = True
        with contextlib.suppress(RuntimeApiError):
            self._session = await self.api.hold()
        self._signal(signal.SIGUSR1)
        await self._deaf()
        self._leaving = asyncio.create_task(self._leave(), name=f"haproxy {self.pid} ends")

    async def _deaf(self) -> None:
        """Wait until it takes no new connections: the runtime API's socket is closed with the others."""
        with contextlib.suppress(RuntimeApiError, TimeoutError):
            async with asyncio.timeout(DEAF_SECONDS):
                while not self.ended.done():
                    await self.api.ask("show version")
                    await asyncio.sleep(0.01)

    async def _leave(self) -> None:
        while self._session and not self.ended.done():
            try:
                if await self._session.connections() == 0:
                    break
            except RuntimeApiError:
                break
            await asyncio.wait({self.ended}, timeout=LEAVE_SECONDS)
        if self._session:
            self._session.close()

    async def stop(self, grace: float, quiet: float) -> None:
        """Stop it when the last request is answered, at the latest after `grace` seconds.

        Idle connections would keep it running: without a request for `quiet` seconds it is stopped.
        """
        await self.retire()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        last = loop.time()
        while loop.time() < end and loop.time() < last + quiet:
            done, _ = await asyncio.wait({self.ended}, timeout=0.1)
            if done:
                return
            if await self._busy():
                last = loop.time()
        await self.end()

    async def _busy(self) -> bool:
        try:
            return await self.requests() > 0
        except RuntimeApiError:
            return True

    async def requests(self) -> int:
        """Return the number of requests in flight: the sessions of the frontend `gateway`."""
        answer = await (self._session or self.api).ask("show sess")
        return sum(" fe=gateway " in line for line in answer.splitlines())

    async def end(self) -> None:
        """Stop it at once."""
        self.retiring = True
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=END_SECONDS)
        if not done:
            self._signal(signal.SIGKILL)
            await self.ended

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.ended.done():
                os.kill(self.pid, number)


async def _watch_other(descriptor: int) -> int:
    """Wait for a process that is not a child; its exit code is unknown, so return 0."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return 0
