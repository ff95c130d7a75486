# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits that hold over the fleet: HAProxy counts and refuses at once, Redis adds up what the gateways counted.

`rendering` is what HAProxy is told at its start, `tables` how its counts are read and set while it runs, `ledger` what
Redis does, `settlement` the task that carries counts between the two.
"""

from evenkeel_gateway.limits.settlement import Limits

__all__ = ["Limits"]
