# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends requests to the app at given addresses, each on a new connection, until stdin ends.

python clients.py PORT ADDRESS… prints how often each version answered, and what failed, as JSON.
"""

from __future__ import annotations

import collections
import json
import socket
import sys
import threading
import time

PAUSE = 0.004
port = int(sys.argv[1])
versions: collections.Counter[str] = collections.Counter()
failures: list[str] = []
over = threading.Event()


def ask(address: str) -> str:
    """The version that answered."""
    with socket.create_connection((address, port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    head, _separator, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise ConnectionError(f"not 200 but {answer!r}")
    return str(json.loads(body)["version"])


def work(address: str) -> None:
    while not over.wait(PAUSE):
        try:
            versions[ask(address)] += 1
        except (OSError, ValueError) as error:
            failures.append(f"{time.time():.3f} {address}: {error!r}")


threads = [threading.Thread(target=work, args=(address,)) for address in sys.argv[2:]]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print(json.dumps({"versions": versions, "failures": failures}))
