# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run container_swap, and kill it or the engine at a chosen point: python dies.py WHO WHERE WHEN < arguments

WHO is `module` or `engine`. WHERE is `pull`, `gate`, or n for the n-th request that changes something. WHEN is `before`
that request, or `sent`: the engine has it, and nothing waits for its answer. A call that never comes to that point ends
as it would have.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._common import http
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import docker, gate, host

WHO, WHERE, WHEN = sys.argv[1:]
del sys.argv[1:]


def die() -> None:
    if WHO == "module":
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(int(Path(docker.SOCKET).with_suffix(".pid").read_text()), signal.SIGKILL)
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(docker.SOCKET)
        except OSError:
            return


class Requests:
    """Counts those that change something."""

    def __init__(self) -> None:
        self.real = docker.unix_request  # type: ignore[attr-defined]
        self.count = 0
        self.started = False

    def __call__(self, path: str, method: str, target: str, body: Any, timeout: float) -> Any:
        self.started = self.started or target.endswith("/start")
        if method != "GET":
            self.count += 1
            if str(self.count) == WHERE:
                if WHEN == "sent":
                    self.send(path, method, target, json.dumps(body).encode() if body is not None else b"")
                die()
        return self.real(path, method, target, body, timeout)

    def send(self, path: str, method: str, target: str, content: bytes) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        head = f"{method} {target} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)


def run(argv: Any, *_: object) -> Any:
    subprocess.Popen(argv, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    die()
    return host.Result(tuple(argv), 1, "", "gone")


requests = Requests()
docker.unix_request = requests  # type: ignore[attr-defined]
really_get = http.get


def get(*arguments: Any) -> http.Response:
    if requests.started:
        gate.get = really_get  # type: ignore[attr-defined]
        die()
    return really_get(*arguments)


if WHERE == "gate":
    gate.get = get  # type: ignore[attr-defined, assignment]
elif WHERE == "pull":
    host.Host.run = lambda _self, argv, **_options: run(argv)  # type: ignore[method-assign]
runpy.run_module("ansible_collections.evenkeel.fleet.plugins.modules.container_swap", run_name="__main__")
