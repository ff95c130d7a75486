# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's limits for a rollout, and shares of a fleet as numbers of hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union

ON_FAILURE = ("rollback_host", "rollback_all", "stop")
# A number of hosts, or a percentage of the fleet such as "25%".
Share = Union[int, str]


@dataclass(frozen=True)
class Policy:
    """The operator's settings.

    batches are the sizes in order; the last one is repeated. Percentages are of the whole fleet, also
    where only a part of it is updated; batches and max_unavailable are rounded down, but to one at least,
    min_in_service is rounded up. elects is false for a fleet whose image has no election. allow_unhealthy lets a
    rollout begin while hosts are unhealthy, such as one that fixes them. canary is the share of the fleet,
    rounded down, but one at least, that is judged before the rest is updated; 0 is none.
    """

    batches: tuple[Share, ...] = (1, "10%", "25%")
    max_unavailable: Share = "25%"
    min_in_service: Share = 1
    on_failure: str = "rollback_host"
    elects: bool = True
    allow_unhealthy: bool = False
    canary: Share = 0


def at_most(share: Share, fleet: int) -> int:
    """A number of hosts as an upper limit: rounded down, but one at least."""
    number, percent = _read(share)
    return max(1, fleet * number // 100 if percent else number)


def is_set(share: Share) -> bool:
    return str(share).strip() not in ("0", "0%")


def at_least(share: Share, fleet: int) -> int:
    """A number of hosts as a lower limit: rounded up."""
    number, percent = _read(share)
    return -(-fleet * number // 100) if percent else number


def policy_problems(policy: Policy, fleet: int) -> list[str]:
    """A message for each invalid setting."""
    reasons = []
    if not policy.batches:
        reasons.append("rollout_batches is empty: give at least one size, such as [1].")
    for name, shares in (
        ("rollout_batches", policy.batches),
        ("rollout_max_unavailable", (policy.max_unavailable,)),
        ("rollout_min_in_service", (policy.min_in_service,)),
        ("rollout_canary", (policy.canary,)),
    ):
        lowest = 0 if name in ("rollout_min_in_service", "rollout_canary") else 1
        for share in shares:
            try:
                number, percent = _read(share)
            except ValueError as error:
                reasons.append(f"{name}: {error}.")
                continue
            if number < lowest or (percent and number > 100):
                reasons.append(f"{name}: {share} is out of range.")
            elif name == "rollout_min_in_service" and fleet and not percent and number > fleet:
                reasons.append(f"{name} is {number}, and the fleet has {fleet} hosts.")
    if policy.on_failure not in ON_FAILURE:
        reasons.append(f"rollout_on_failure is {policy.on_failure}: use one of {', '.join(ON_FAILURE)}.")
    return reasons


def _read(share: Share) -> tuple[int, bool]:
    """The number, and whether it is a percentage."""
    match = re.fullmatch(r"(\d+)(%?)", str(share).strip())
    if not match or isinstance(share, bool):
        raise ValueError(f"{share!r} is neither a number of hosts nor a percentage")
    return int(match[1]), bool(match[2])
