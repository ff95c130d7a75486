# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook without its start.

A run on this machine is imports for the most part: of Ansible, and of boto3 in each module. Here a server has imported
them, and a fork of it is the run. What differs from a process of its own: PYTHON imports a module from the checkout,
not from what Ansible packs for a host. So it is for tests of what a playbook does; that all is packed is seen on hosts.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
# For ansible_python_interpreter on this machine.
PYTHON = HERE / "python"


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run, with the texts that ansible-playbook prints."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        code = Playbook(words, cwd, env, output, errors).wait(timeout)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(list(words), code, output.read(), errors.read())


class Playbook:
    """A run of ansible-playbook with these words, in a session of its own; as a subprocess.Popen."""

    def __init__(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: IO[Any], stderr: IO[Any] | None = None
    ) -> None:
        self.returncode: int | None = None
        self._words = words
        folder = servers(env, cwd)
        request = {
            "words": words,
            "folder": str(cwd),
            "environment": {**env, "WARM_PYTHON": str(folder / "python")},
            "session": True,
        }
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(folder / "playbook"))
        with Path("/dev/null").open() as nothing:
            socket.send_fds(self._server, [b"\0"], [one.fileno() for one in (nothing, stdout, stderr or stdout)])
        self._server.sendall(json.dumps(request).encode())
        self._server.shutdown(socket.SHUT_WR)
        self._says = self._server.makefile()
        self.pid = int(self._says.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self._words), timeout or 0)
            self.returncode = int(self._says.readline())
            self.forget()
        return self.returncode

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """It is killed if it still runs."""
        self._says.close()
        self._server.close()


def servers(environment: Mapping[str, str], cwd: Path) -> Path:
    """The folder of the sockets for runs in this environment and folder. The servers end with this process."""
    names = ("HOME", "LANG", "LC_ALL", "NO_COLOR", "PATH", "TERM", "TMPDIR")
    # What Ansible or Python read once. Without ANSIBLE_CONFIG it is that of the folder.
    settings = {
        name: value for name, value in environment.items() if name in names or name.startswith(("ANSIBLE_", "PYTHON"))
    }
    return _started(frozenset(settings.items()), CHECKOUT if "ANSIBLE_CONFIG" in settings else cwd)


@functools.cache
def _started(environment: frozenset[tuple[str, str]], cwd: Path) -> Path:
    folder = tempfile.mkdtemp(prefix="warm-")
    for program in ("playbook", "python"):
        socket_path = Path(folder) / program
        subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), program, str(socket_path)],
            stdin=subprocess.PIPE,
            env=dict(environment),
            cwd=cwd,
        )
    deadline = time.monotonic() + 120
    while {path.name for path in Path(folder).iterdir()} != {"playbook", "python"}:
        assert time.monotonic() < deadline, "the servers start"
        time.sleep(0.02)
    return Path(folder)
