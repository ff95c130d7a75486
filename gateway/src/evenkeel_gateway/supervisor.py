# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a container: it starts the control plane, restarts it after a crash, and reaps orphans.

HAProxy keeps serving meanwhile, and the next control plane takes it over. It only imports the standard library, to
stay small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

SUPERVISED = "EVENKEEL_SUPERVISED"
STARTED = "EVENKEEL_STARTED"
"""Unix time of the supervisor's start: the default of LAUNCHED_AT."""
BAD_CONFIGURATION = 2
STABLE_SECONDS = 10.0
QUICK_ENDS = 3
PAUSE_SECONDS = 0.2
_SIGNALLED = 128
_PR_SET_CHILD_SUBREAPER = 36
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    def __init__(self, arguments: list[str], runtime: str) -> None:
        self._command = [sys.executable, "-m", "evenkeel_gateway", *arguments]
        self._environment = os.environ | {SUPERVISED: "1", STARTED: repr(time.time()), "RUNTIME_DIR": runtime}
        self._stopping = False
        self._quick = 0

    def run(self) -> int:
        # Blocked and waited for, so that none is lost between a check and the wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
        while True:
            started = time.monotonic()
            code = self._watch(self._start())
            self._quick = self._quick + 1 if time.monotonic() - started < STABLE_SECONDS else 0
            if self._stopping or code in (0, BAD_CONFIGURATION):
                break
            if self._quick >= QUICK_ENDS:
                _say(
                    f"the control plane exited {self._quick} times within {STABLE_SECONDS:.0f} s of its start, "
                    f"last with code {code}: giving up"
                )
                break
            _say(f"the control plane exited with code {code}, restarting it; HAProxy keeps serving")
            if self._paused():
                code = 0
                break
        _end_the_rest()
        if self._stopping and code == -signal.SIGTERM:
            return 0  # it was stopped before it handled signals
        return code if code >= 0 else _SIGNALLED - code

    def _start(self) -> int:
        return os.posix_spawn(self._command[0], self._command, self._environment, setsigmask=[])

    def _watch(self, child: int) -> int:
        """Return the exit code of the child, and reap all others."""
        while True:
            number = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD}).si_signo
            if number != signal.SIGCHLD:
                self._stopping |= number != signal.SIGHUP
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, number)
                continue
            for pid, status in _reap():
                if pid == child:
                    return os.waitstatus_to_exitcode(status)

    def _paused(self) -> bool:
        """Wait before a restart; returns whether to stop instead."""
        return (
            signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, PAUSE_SECONDS * 2 ** max(0, self._quick - 1))
            is not None
        )


def _reap() -> list[tuple[int, int]]:
    found = []
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(ended)
    return found


def _children() -> list[int]:
    with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123
        return [int(pid) for pid in file.read().split()]
    return []


def _end_the_rest() -> None:
    """Stop HAProxy after the control plane, with a grace for the requests in flight."""
    for pid in _children():
        _kill(pid, signal.SIGUSR1)
    end = time.monotonic() + float(
        os.environ.get("SHUTDOWN_GRACE_SECONDS") or os.environ.get("WSGI_GRACEFUL_TIMEOUT") or 25
    )
    _reap()
    while _children() and time.monotonic() < end:
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)
        _reap()
    for pid in _children():
        _kill(pid, signal.SIGKILL)
    while _children():
        with contextlib.suppress(ChildProcessError):
            os.wait()


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _say(text: str) -> None:
    print(f"supervisor: {text}", file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    if os.getpid() != 1:
        _adopt()
    configured = os.environ.get("RUNTIME_DIR")
    if configured:
        return Supervisor(sys.argv[1:], configured).run()
    import tempfile  # noqa: PLC0415  # never in a container, where it would stay in memory

    with tempfile.TemporaryDirectory(prefix="evenkeel-gateway-", ignore_cleanup_errors=True) as runtime:
        return Supervisor(sys.argv[1:], runtime).run()


def _adopt() -> None:
    """Become the parent of orphans of a crashed control plane, as process 1 does."""
    import ctypes  # noqa: PLC0415  # as above

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
