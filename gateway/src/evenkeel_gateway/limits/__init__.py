# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits across all gateways: HAProxy counts and refuses at once, Redis adds up the counts of the gateways.

`tables` reads and sets HAProxy's counts while it runs, `ledger` is what Redis does, `settlement` the task that carries
counts between the two. What HAProxy is told at its start is in `haproxy.limits`.
"""

from evenkeel_gateway.limits.settlement import LimitSettlement

__all__ = ["LimitSettlement"]
