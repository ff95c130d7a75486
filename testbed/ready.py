# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until every host and service of the plan on stdin answers; names those that do not."""

from __future__ import annotations

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

TIMEOUT = 60.0
INTERVAL = 0.1


def answers(address: str, port: int, speaks_first: bool) -> bool:
    """Whether a connection is taken, and, of a server that speaks first, whether it says a word."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            return not speaks_first or bool(connection.recv(1))
    except OSError:
        return False


def wait(deadline: float, name: str, address: str, port: int, speaks_first: bool) -> str | None:
    """None once it answers, else what an operator should look at."""
    while not answers(address, port, speaks_first):
        if time.monotonic() > deadline:
            return f"{name} does not answer at {address}:{port}, see: docker logs {name}"
        time.sleep(INTERVAL)
    return None


def main() -> None:
    plan = json.load(sys.stdin)
    deadline = time.monotonic() + TIMEOUT
    targets: list[tuple[str, str, int, bool]]
    targets = [(f"{plan['name']}-{name}", host["ipv4"], 22, True) for name, host in plan["hosts"].items()]
    targets += [
        (f"{plan['name']}-{name}", service["ipv4"], service["listens"], False)
        for name, service in plan["services"].items()
        if service.get("listens")
    ]
    with ThreadPoolExecutor(len(targets)) as pool:
        problems = [problem for problem in pool.map(lambda target: wait(deadline, *target), targets) if problem]
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
