# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server states that one HAProxy process hands on to the next, so that an open circuit stays open."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from evenkeel_gateway.haproxy.slots import servers

if TYPE_CHECKING:
    from pathlib import Path

    from evenkeel_gateway.haproxy.render import Inputs
    from evenkeel_gateway.haproxy.runtime_api import ServerKey
    from evenkeel_gateway.settings import Route

FILE = "servers.state"
NONE = "1\n"
# The columns of "show servers state".
_BACKEND, _SERVER, _ADDRESS, _ADMINISTRATIVE_STATE = 1, 3, 4, 6


def handed_on(text: str, before: tuple[Route, ...], inputs: Inputs) -> str:
    """Return the answer of "show servers state" without the servers that get another address."""
    upstreams = {route.name: route.upstream for route in before}
    same = [route for route in inputs.settings.routes if upstreams.get(route.name) == route.upstream]
    known = {(route.name, name): address for route in same for name, _, address in servers(route, inputs.addresses)}
    lines = text.splitlines()
    head, rows = lines[:2], [line.split(" ") for line in lines[2:]]
    kept = [row for row in rows if row[_ADDRESS] == known.get((row[_BACKEND], row[_SERVER]))]
    for row in kept:
        row[_ADMINISTRATIVE_STATE] = "0"  # it may have had no address when its process started
    return "".join(f"{line}\n" for line in (*head, *(" ".join(row) for row in kept)))


def read(folder: Path) -> set[ServerKey]:
    """Return the servers whose state the process of this directory inherited."""
    with contextlib.suppress(OSError):
        rows = [line.split(" ") for line in (folder / FILE).read_text().splitlines()[2:]]
        return {(row[_BACKEND], row[_SERVER]) for row in rows}
    return set()


def with_address(inputs: Inputs) -> set[ServerKey]:
    return {
        (route.name, name)
        for route in inputs.settings.routes
        for name, _, address in servers(route, inputs.addresses)
        if address
    }
