# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renews a rollout's lock in the background for as long as its ansible-playbook lives, and releases it afterwards.

A child process in a separate session, so that neither Ctrl-C nor a closed terminal ends it. The password is only in its
memory: not in a command line, the environment or a file. If it is killed as well, the lock expires.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from . import journal
from .database import ConnectionSettings, Database
from .errors import FleetError, RefusalError
from .rollout_lock import LockRenewal, release, renew
from .scope import FLEET, Scope

LOOK_SECONDS = 0.5
# Renewals per ttl of the lock, so that two failed attempts don't lose it.
RENEWALS = 4
GONE, STOPPED, RUNS = "gone", "stopped", "runs"


@dataclass(frozen=True)
class WatchedProcess:
    """A later process with the same id has another `started`; None where the system does not report it."""

    pid: int
    started: str | None

    @classmethod
    def of(cls, pid: int) -> WatchedProcess:
        _state, started = _stat(pid)
        return cls(pid, started)

    def children(self) -> list[WatchedProcess]:
        """None where the system does not report it."""
        try:
            told = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        except OSError:
            return []
        return [WatchedProcess.of(int(pid)) for pid in told.split()]

    def state(self) -> str:
        state, started = _stat(self.pid)
        if started != self.started or state in ("Z", "X"):
            return GONE
        return STOPPED if state in ("T", "t") else RUNS


def _stat(pid: int) -> tuple[str | None, str | None]:
    """Linux: state and start time. Elsewhere whether there is such a process."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "X", None
        return None, None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None, None
    return fields[0], fields[19]


def start(wanted: ConnectionSettings, rollout_id: int, ttl: float, pid: int, scope: Scope = FLEET) -> bool:
    """Whether there is one now. The caller has no open connection: parent and child must not share it."""
    controller = WatchedProcess.of(pid)
    if controller.state() == GONE:
        return False
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return True
    try:
        os.setsid()
        if os.fork() == 0:
            _detach()
            keep(wanted, LockRenewal(rollout_id, ttl, scope=scope), controller)
    finally:
        os._exit(0)


def _detach() -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(name, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    with suppress(OSError):
        for number in [int(place.name) for place in Path("/dev/fd").iterdir()]:
            if number > 2:
                with suppress(OSError):
                    os.close(number)


def keep(wanted: ConnectionSettings, renewal: LockRenewal, controller: WatchedProcess) -> None:
    """Until the rollout is over or the lock is lost."""
    renew_at = 0.0
    workers: list[WatchedProcess] = []
    while (state := controller.state()) != GONE:
        workers = controller.children() or workers
        # A stopped process counts as dead: its lock expires.
        if state == RUNS and time.monotonic() >= renew_at:
            renew_at = time.monotonic() + renewal.ttl / RENEWALS
            try:
                with Database(wanted) as database:
                    renew(database, renewal=renewal, check_mode=False)
            except RefusalError:
                return
            except FleetError:
                pass  # Tried again; the rollout's own steps report the problem with the database.
        time.sleep(LOOK_SECONDS)
    # A worker that outlives its controller may be about to begin a swap; from then on the host's lock protects it.
    patience = time.monotonic() + renewal.ttl / 2
    while time.monotonic() < patience and any(worker.state() == RUNS for worker in workers):
        time.sleep(LOOK_SECONDS)
    _give_back(wanted, renewal)


def _give_back(wanted: ConnectionSettings, renewal: LockRenewal) -> None:
    """For at most the ttl of the lock; then it has expired."""
    detail = f"ansible-playbook ended before the {renewal.scope.noun} did: it was interrupted or killed."
    end = {"host": journal.WHOLE_FLEET, "step": "end", "result": "failed", "detail": detail}
    deadline = time.monotonic() + renewal.ttl
    while time.monotonic() < deadline:
        try:
            with Database(wanted) as database:
                release(database, result="failed", renewal=replace(renewal, steps=[end]), check_mode=False)
        except RefusalError:
            return
        except FleetError:
            time.sleep(LOOK_SECONDS)
        else:
            return
