# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program in the tests' images: answers as its settings say, and logs them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

with open("/app.json") as stream:  # noqa: PTH123 # not everything need be imported
    settings: dict[str, Any] = json.load(stream)
born = time.monotonic()


def end(code: int) -> None:
    print(f"app: ends with {code}", flush=True)
    os._exit(code)


def crash() -> None:
    time.sleep(settings["crash_after"])
    print("app: can't go on, DB_PASSWORD=hunter2", file=sys.stderr, flush=True)
    end(7)


def terminated(*_: object) -> None:
    time.sleep(settings.get("stop_takes", 0))
    end(0)


def healthy() -> bool:
    return bool(time.monotonic() - born < settings.get("sick_after", 10**6))


signal.signal(signal.SIGTERM, terminated)
print(f"app: {settings['version']} starts", flush=True)
if "lock" in settings:
    lock = open(settings["lock"], "w")  # noqa: PTH123, SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"app: another one has {settings['lock']}", flush=True)
        end(1)
if "crash_after" in settings:
    threading.Thread(target=crash, daemon=True).start()
with socket.create_server(("0.0.0.0", 3000)) as listener:
    while True:
        connection, _address = listener.accept()
        with connection:
            path = connection.recv(4096).split(b" ")[1].decode()
            body = json.dumps({"version": settings["version"], "instanceId": "i-1", "path": path}).encode()
            status = b"200 OK" if healthy() else b"503 Unavailable"
            connection.sendall(b"HTTP/1.0 " + status + b"\r\n\r\n" + body)
