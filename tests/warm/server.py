# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python server.py PROGRAM SOCKET` runs a program for each that asks, in a fork, until its standard input ends.

It imports before a fork what the forks before it imported.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn


class Playbook:
    """ansible-playbook, with its loaders of collections and plugins."""

    def prepare(self) -> None:
        importlib.import_module("ansible.cli.playbook")
        from ansible.plugins.loader import init_plugin_loader

        warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
        init_plugin_loader()

    def run(self, words: list[str]) -> None:
        from ansible import constants
        from ansible.cli.playbook import main

        # Plugins keep there what they look up once in a run. Only the packed modules are the same for all runs.
        shared = Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache"
        shared.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="ansible-local-", dir=shared.parent.parent) as own:
            (Path(own) / shared.name).symlink_to(shared)
            constants.DEFAULT_LOCAL_TMP = own
            main(["ansible-playbook", *words])


class Python:
    """A Python for a script, its first argument or from standard input."""

    def prepare(self) -> None:
        """What the first ones import is enough."""

    def run(self, words: list[str]) -> None:
        sys.argv = words or ["-"]
        if words:
            runpy.run_path(words[0], run_name="__main__")
        else:
            exec(compile(sys.stdin.read(), "<stdin>", "exec"), sys.modules["__main__"].__dict__)


PROGRAMS: dict[str, Playbook | Python] = {"playbook": Playbook(), "python": Python()}


class Server:
    def __init__(self, program: Playbook | Python, path: str) -> None:
        self._program = program
        self._learnt: set[str] = set()
        self._poll = select.poll()
        # By the descriptor that tells its end: the process, who waits for it, and what it says it imported.
        self._forks: dict[int, tuple[int, socket.socket, int]] = {}
        # By the connection of who waits for it.
        self._waiting: dict[int, int] = {}
        program.prepare()
        self._listening = socket.socket(socket.AF_UNIX)
        # Who finds it there can connect.
        self._listening.bind(f"{path}.new")
        self._listening.listen(64)
        Path(f"{path}.new").rename(path)

    def serve(self) -> None:
        self._poll.register(0, select.POLLIN)
        self._poll.register(self._listening, select.POLLIN)
        while True:
            # One at a time: after it, the number of another one may be that of a new connection.
            descriptor, _event = self._poll.poll()[0]
            if descriptor == 0:
                return
            if descriptor == self._listening.fileno():
                self._fork(self._listening.accept()[0])
            elif descriptor in self._waiting:
                self._poll.unregister(descriptor)
                os.kill(self._waiting[descriptor], signal.SIGKILL)
            else:
                self._ended(descriptor)

    def _fork(self, asked: socket.socket) -> None:
        streams: list[int] = []
        try:
            _message, streams, _flags, _address = socket.recv_fds(asked, 1, 3)
            request = json.loads(b"".join(iter(lambda: asked.recv(65536), b"")))
        except (OSError, ValueError):
            # Who asked was killed meanwhile. Who reads its output waits until nobody has that open.
            for descriptor in streams:
                os.close(descriptor)
            asked.close()
            return
        learnt, tells = os.pipe()
        # Otherwise a collection in the fork would copy what it shares with this process.
        gc.freeze()
        pid = os.fork()
        if not pid:
            self._become(request, streams, tells)
        with suppress(OSError):
            asked.sendall(f"{pid}\n".encode())
        for descriptor in (*streams, tells):
            os.close(descriptor)
        ended = os.pidfd_open(pid)
        self._poll.register(ended, select.POLLIN)
        self._forks[ended] = pid, asked, learnt
        # Nothing but that the other end is closed.
        self._poll.register(asked, 0)
        self._waiting[asked.fileno()] = pid

    def _become(self, request: dict[str, Any], streams: list[int], tells: int) -> NoReturn:
        """The fork runs the program, and leaves without what this process does at its end."""
        code: object = 1
        try:
            if request["session"]:
                os.setsid()
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
                os.close(descriptor)
            random.seed()
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            self._program.run(request["words"])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        # The server reads it when this process has ended: what does not fit into the pipe must not wait.
        os.set_blocking(tells, False)
        with suppress(OSError):
            os.write(tells, "\n".join(sys.modules.keys() - self._learnt).encode())
        os._exit(code if isinstance(code, int) else 1)

    def _ended(self, descriptor: int) -> None:
        pid, asked, learnt = self._forks.pop(descriptor)
        del self._waiting[asked.fileno()]
        for each in (descriptor, asked):
            with suppress(KeyError):
                self._poll.unregister(each)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with asked, suppress(OSError):
            asked.sendall(f"{code}\n".encode())
        os.set_blocking(learnt, False)
        with suppress(BlockingIOError):
            self._learn(os.read(learnt, 65536).decode().split("\n"))
        os.close(learnt)

    def _learn(self, names: list[str]) -> None:
        for name in names:
            self._learnt.add(name)
            # A module of Ansible is a script.
            if ".plugins.modules." not in name:
                with suppress(Exception):
                    importlib.import_module(name)


def main() -> None:
    program, path = sys.argv[1:]
    # Not this folder.
    del sys.path[0]
    Server(PROGRAMS[program], path).serve()
    Path(path).unlink()
    # The last one.
    with suppress(OSError):
        Path(path).parent.rmdir()


if __name__ == "__main__":
    main()
