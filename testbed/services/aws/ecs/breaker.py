# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment circuit breaker: how many failed tasks it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LEAST, MOST = 3, 200


def threshold(configuration: Mapping[str, Any], desired: int) -> int:
    """Failed tasks at which a deployment fails, of a deploymentCircuitBreaker and the service's desired count."""
    wanted = configuration.get("thresholdConfiguration", {"type": "BOUNDED_PERCENT", "value": 50})
    if wanted["type"] == "COUNT":
        return int(wanted["value"])
    share = math.ceil(int(wanted["value"]) * desired / 100)
    return max(share, 1) if wanted["type"] == "UNBOUNDED_PERCENT" else min(max(share, LEAST), MOST)


def resets(configuration: Mapping[str, Any]) -> bool:
    """Whether a healthy task sets the count back to 0."""
    return bool(configuration.get("resetOnHealthyTask", True))
