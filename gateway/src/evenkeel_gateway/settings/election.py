# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The election of the leader."""

from __future__ import annotations

from pydantic import Field

from evenkeel_gateway.settings.aliases import names_of
from evenkeel_gateway.settings.part import Part


class ElectionSettings(Part):
    force_leader: bool = False
    stale_instance_threshold_seconds: float = Field(
        default=15.0, gt=0, validation_alias=names_of("STALE_INSTANCE_THRESHOLD_SECONDS")
    )
    lease_ttl_seconds: float = Field(default=15.0, gt=0)
    lease_margin_seconds: float = Field(default=2.0, ge=0.1)
    election_tick_seconds: float = Field(default=5.0, gt=0)

    def problems(self) -> list[str]:
        problems = []
        if self.lease_margin_seconds * 2 > self.lease_ttl_seconds:
            problems.append("LEASE_MARGIN_SECONDS: must be at most half of LEASE_TTL_SECONDS")
        if self.election_tick_seconds >= self.lease_ttl_seconds - self.lease_margin_seconds:
            problems.append(
                "ELECTION_TICK_SECONDS: must be below LEASE_TTL_SECONDS - LEASE_MARGIN_SECONDS, "
                "or every leader steps down between two renewals"
            )
        if self.election_tick_seconds >= self.stale_instance_threshold_seconds:
            problems.append(
                "STALE_INSTANCE_THRESHOLD_SECONDS: must be above ELECTION_TICK_SECONDS, or live instances are removed"
            )
        return problems
