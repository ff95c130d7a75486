# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the app of a host, from the host and from another machine, while a test changes it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.swap.little_host import HOST4, HOST6, PORT, LittleHost

CLIENTS = Path(__file__).parent / "clients.py"


@dataclass
class Told:
    """What clients tell when they are done."""

    versions: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@contextmanager
def clients(host: LittleHost) -> Iterator[Told]:
    """From elsewhere and on the host itself, with IPv4 and IPv6."""
    command = [*host.inside, "ip", "netns", "exec", "elsewhere", sys.executable, CLIENTS, PORT, HOST4, HOST6]
    commands = [command, [*host.inside, sys.executable, CLIENTS, PORT, "127.0.0.1", "::1", HOST4]]
    running = [
        subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for words in commands
    ]
    told = Told()
    try:
        yield told
    finally:
        for process in running:
            output = json.loads(process.communicate(timeout=30)[0])
            told.failures += output["failures"]
            for version, count in output["versions"].items():
                told.versions[version] = told.versions.get(version, 0) + count
