# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling update: how many tasks to start and to stop now, within the limits of the deployment configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Counts:
    """Tasks of a service that are to run: those of the primary revision, and those of older ones.

    old_stoppable are those of the old healthy ones that are not protected from scaling in.
    """

    new: int
    new_healthy: int
    old: int
    old_healthy: int
    old_stoppable: int


@dataclass(frozen=True)
class Plan:
    """start: tasks of the primary revision. stop_old: healthy old tasks. stop_new: surplus of the primary revision.

    stuck: the limits leave no way on.
    """

    start: int = 0
    stop_old: int = 0
    stop_new: int = 0
    stuck: bool = False


def limits(desired: int, configuration: Mapping[str, Any]) -> tuple[int, int]:
    """The least healthy tasks and the most tasks, of minimumHealthyPercent and maximumPercent."""
    least = math.ceil(desired * configuration["minimumHealthyPercent"] / 100)
    most = math.floor(desired * configuration["maximumPercent"] / 100)
    return least, most


def plan(desired: int, configuration: Mapping[str, Any], counts: Counts) -> Plan:
    """Old tasks that are not healthy are taken for stopped by the caller already, and are not in `old`."""
    least, most = limits(desired, configuration)
    missing = max(desired - counts.new, 0)
    start = min(missing, max(most - counts.new - counts.old, 0))
    spare = max(counts.new_healthy + counts.old_healthy - least, 0)
    stop_old = min(spare, counts.old_stoppable)
    stuck = bool(missing and not start and not spare and counts.new == counts.new_healthy and counts.old)
    return Plan(start, stop_old, max(counts.new - desired, 0), stuck)
