# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of the benchmark: starts them, measures them, and ends them with their children."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")


class BenchError(Exception):
    """Something that is measured does not run, or does something else than the others."""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed; `make bench-gateway` installs what is missing")
    return found


def free_port() -> int:
    """Below those that the kernel gives to outgoing connections: who waits for such a port can meet itself there."""
    lowest = int((PROC / "sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(lowest, 20_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait, and return for how long."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise BenchError(f"timeout after {seconds:.0f} s: {what}")
        time.sleep(0.005)
    return time.monotonic() - began


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Processes:
    """All that the benchmark starts; nothing of it outlives the benchmark, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        families = {process: tree(process.pid) for process in self._running}
        for process in families:
            process.terminate()  # all at once: some take their time
        for process, family in reversed(families.items()):
            self.stop(process, family)

    def start(
        self, name: str, argv: list[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                # It ends with the benchmark even where that is killed.
                [program("setpriv"), "--pdeathsig", "TERM", "--", *argv],
                env=dict(env if env is not None else os.environ),
                cwd=cwd or self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def serve(
        self,
        name: str,
        port: int,
        argv: list[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        answers: Callable[[int], bool] = listens,
    ) -> subprocess.Popen[bytes]:
        """Returns when it answers on its port."""
        process = self.start(name, argv, env, cwd)
        until(lambda: process.poll() is not None or answers(port), 30, f"{name} answers")
        if process.poll() is not None:
            tail = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
            raise BenchError(f"{name} ended at once:\n{tail}")
        return process

    def stop(self, process: subprocess.Popen[bytes], family: Mapping[int, int] | None = None) -> None:
        self._running.remove(process)
        family = family or tree(process.pid)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        # These were started by it and still run. A later process with the same id has another start time.
        for pid, began in family.items():
            if started(pid) == began:
                os.kill(pid, signal.SIGKILL)


def started(pid: int) -> int | None:
    """When a process was started, in ticks since the boot; none where it is gone or only waits to be collected."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def tree(root: int) -> dict[int, int]:
    """The process and all that descend from it, each with when it was started."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        began = started(pid)
        if began is not None:
            found[pid] = began
        waiting += children.get(pid, [])
    return found


def processor_seconds(roots: Iterable[int]) -> dict[str, float]:
    """What the trees have used so far, by the program's name.

    Of the scheduler's books, exact to the nanosecond; utime and stime of /proc/PID/stat count in ticks of 10 ms.
    """
    used: dict[str, float] = defaultdict(float)
    for root in roots:
        for pid in tree(root):
            try:
                name = (PROC / str(pid) / "comm").read_text().strip()
                for thread in (PROC / str(pid) / "task").iterdir():
                    used[name] += int((thread / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue
    return used


def resident_megabytes(root: int) -> dict[str, float]:
    """RSS of the tree, by the program's name; pages that two of them share count twice."""
    used: dict[str, float] = defaultdict(float)
    for pid in tree(root):
        try:
            name = (PROC / str(pid) / "comm").read_text().strip()
            pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        except OSError:
            continue
        used[name] += pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return dict(used)


def install(folder: Path, sources: list[Path], command: list[str]) -> None:
    """Copy the sources into the folder and run the command there, unless that was done for the same sources."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy(source, folder)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed in {folder}:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    stamp.write_text(digest)
