# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one HAProxy hands on to the next: which servers are up, so that an open circuit stays open."""

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
    """Return what HAProxy says of its servers without those that have another address in the inputs."""
    upstreams = {route.name: route.upstream for route in before}
    same = [route for route in inputs.settings.routes if upstreams.get(route.name) == route.upstream]
    known = {(route.name, name): address for route in same for name, _, address in servers(route, inputs.addresses)}
    lines = text.splitlines()
    head, rows = lines[:2], [line.split(" ") for line in lines[2:]]
    kept = [row for row in rows if row[_ADDRESS] == known.get((row[_BACKEND], row[_SERVER]))]
    for row in kept:
        row[_ADMINISTRATIVE_STATE] = "0"  # that it had no address when its process started is over
    return "".join(f"{line}\n" for line in (*head, *(" ".join(row) for row in kept)))


def read(folder: Path) -> set[ServerKey]:
    """Return the servers that were handed on to the process of this folder."""
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
