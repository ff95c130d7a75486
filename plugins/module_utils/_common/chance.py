# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two shares differ by more than chance. Imports without Ansible."""

from __future__ import annotations

import math


def by_chance(hits: float, of: float, other_hits: float, of_others: float) -> float:
    """Fisher's exact test: how probable as many hits, or more, are if both have the same share of them."""
    ours, count, theirs, others = (round(value) for value in (hits, of, other_hits, of_others))
    total, population = ours + theirs, count + others
    most = min(total, count)
    whole = _log_choose(population, total)
    logs = [
        _log_choose(count, number) + _log_choose(others, total - number) - whole
        for number in range(max(ours, total - others), most + 1)
    ]
    return min(1.0, sum(math.exp(value) for value in logs))


def _log_choose(of: int, number: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(number + 1) - math.lgamma(of - number + 1)
