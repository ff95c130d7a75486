# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The circuits of the servers, read from what HAProxy says of their health."""

from __future__ import annotations

import re

STATES = ("CLOSED", "HALF_OPEN", "OPEN")
_CHECKS = re.compile(r"DOWN (\d+)/(\d+)")
# HAProxy has no state for it: the circuit closes after these last successful checks.
_HALF_OPEN_CHECKS = 2


def is_up(status: str) -> bool:
    return status.startswith(("UP", "no check"))


def state(status: str) -> str:
    """Return the one of STATES that a server's status means: "DOWN 28/30" has 28 of the 30 checks that close it."""
    if is_up(status):
        return "CLOSED"
    checks = _CHECKS.fullmatch(status)
    return "HALF_OPEN" if checks and int(checks[1]) >= int(checks[2]) - _HALF_OPEN_CHECKS else "OPEN"


def successful_checks(status: str) -> int:
    """Return the number of consecutive successful health checks of a server that is down."""
    checks = _CHECKS.fullmatch(status)
    return int(checks[1]) if checks else 0
