# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's process: its configuration checked, started, watched and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import subprocess
from collections import deque
from typing import TYPE_CHECKING

from evenkeel_gateway import metrics
from evenkeel_gateway.haproxy.render import render, routes_map
from evenkeel_gateway.haproxy.runtime_api import RuntimeApi, RuntimeApiError

if TYPE_CHECKING:
    from pathlib import Path

    from evenkeel_gateway.settings import Route, Settings

log = logging.getLogger(__name__)

RESOLVE_SECONDS = 10.0
STABLE_SECONDS = 10.0


class HaproxyError(Exception):
    """HAProxy is missing, or refuses its configuration."""


def resolve(hosts: set[str]) -> dict[str, list[str]]:
    """Blocks; asks as every other program of the machine does (/etc/hosts, then DNS)."""
    addresses = {}
    for host in hosts:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            continue
        # IPv4 first: a container often has no route for the other.
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        addresses[host] = [str(entry[4][0]) for entry in found]
    return addresses


class Haproxy:
    def __init__(self, settings: Settings, runtime: Path) -> None:
        self._settings = settings
        self._runtime = runtime
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._served = False
        self._alerts: deque[str] = deque(maxlen=5)
        self._addresses: dict[str, str] = {}
        self.api = RuntimeApi(runtime / "haproxy.sock")

    @property
    def _config(self) -> Path:
        return self._runtime / "haproxy.cfg"

    async def configure(self) -> None:
        """Write the configuration and have it checked; raises HaproxyError."""
        await self._resolve()
        for route in self._unresolved():
            log.warning("the upstream's name has no address yet", extra={"fields": {"upstream": route.upstream}})
        try:
            (self._runtime / "routes.map").write_text(routes_map(self._settings))
            self._config.write_text(render(self._settings, self._runtime, self._addresses))
        except OSError as error:
            raise HaproxyError(f"RUNTIME_DIR={self._runtime}: not writable: {error}") from None
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        binary = shutil.which(self._settings.haproxy_binary)
        if binary is None:
            raise HaproxyError(
                f"HAPROXY_BINARY={self._settings.haproxy_binary}: not found; install haproxy 2.6 or newer"
            )
        done = subprocess.run(  # noqa: S603
            [binary, "-c", "-f", str(self._config)], capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode:
            raise HaproxyError(f"haproxy refuses {self._config}:\n{done.stdout}{done.stderr}")

    async def run(self) -> None:
        """Keep HAProxy running until it is stopped."""
        pause = 0.1
        while not self._stopping:
            started = asyncio.get_running_loop().time()
            self._process = await self._start()
            names = asyncio.create_task(self._follow_names())
            await self._log_errors(self._process)
            code = await self._process.wait()
            names.cancel()
            lived = asyncio.get_running_loop().time() - started
            if self._stopping:
                log.info("haproxy stopped", extra={"fields": {"exitCode": code}})
                return
            if not self._served and code > 0:
                raise HaproxyError(f"haproxy did not start: {' '.join(self._alerts)}")
            metrics.HAPROXY_RESTARTS.inc()
            pause = 0.2 if lived > STABLE_SECONDS else min(pause * 2, 5.0)
            log.error("haproxy ended by itself, starting it again", extra={"fields": {"exitCode": code, "in": pause}})
            await asyncio.sleep(pause)
            # Addresses that changed meanwhile.
            await self.configure()

    async def _start(self) -> asyncio.subprocess.Process:
        # Without a master process: the control plane is one, and 2.6's loses a SIGUSR1 that comes early.
        command = [self._settings.haproxy_binary, "-db", "-f", str(self._config)]
        setpriv = shutil.which("setpriv")
        if setpriv:
            # Without it a control plane that was killed would leave a gateway behind that has nobody to ask.
            command = [setpriv, "--pdeathsig", "USR1", "--", *command]
        # A session of its own: Ctrl-C in a terminal is for the control plane, which then stops HAProxy softly.
        return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, start_new_session=True)

    async def _log_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101
        while line := await process.stderr.readline():
            text = line.decode(errors="replace").strip()
            warns = text.startswith(("[WARNING]", "[ALERT]")) and not self._stopping
            level = logging.WARNING if warns else logging.DEBUG
            log.log(level, "haproxy: %s", text)
            if text.startswith("[ALERT]"):
                self._alerts.append(text)

    async def _follow_names(self) -> None:
        """Tell HAProxy where the upstreams are now."""
        while not self._served:
            # What ends before it has once answered will not get better by itself: a port that is taken.
            with contextlib.suppress(RuntimeApiError):
                await self.api.ask("show info")
                self._served = True
            await asyncio.sleep(0.05)
        while True:
            await asyncio.sleep(RESOLVE_SECONDS if self._unresolved() == [] else 1.0)
            before = dict(self._addresses)
            await self._resolve()
            for route in self._settings.routes:
                address = self._addresses.get(route.host)
                if address is None or address == before.get(route.host):
                    continue
                fields = {"upstream": route.upstream, "address": address}
                try:
                    await self.api.set_address(route, address)
                except RuntimeApiError as error:
                    self._addresses.pop(route.host, None)  # to be tried again
                    log.warning("the upstream's address is not set", extra={"fields": fields | {"error": str(error)}})
                else:
                    log.info("the upstream's address is set", extra={"fields": fields})

    def _unresolved(self) -> list[Route]:
        return [route for route in self._settings.routes if route.host not in self._addresses]

    async def _resolve(self) -> None:
        """Change only what must: one of several addresses stays as long as it is one of them.

        A name that has no address any more keeps the last one: DNS may be what is broken.
        """
        for host, found in (await asyncio.to_thread(resolve, {route.host for route in self._settings.routes})).items():
            if self._addresses.get(host) not in found:
                self._addresses[host] = found[0]

    async def stop(self) -> None:
        """No new connections; ends when the last request is answered, or the grace is over."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGUSR1)
        try:
            async with asyncio.timeout(self._settings.shutdown_grace_seconds + 1):
                await process.wait()
        except TimeoutError:
            log.warning("haproxy did not stop within its grace, killing it")
            process.kill()
            await process.wait()
