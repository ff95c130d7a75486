# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lock and its journal are about: the fleet, or one service that an orchestrator runs.

The fleet's rows have tables of their own. So its readers never see a service's, also in a version that knows no scope,
and a service's lock needs nothing from the gateways but the database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import FleetError

# Orchestrators, and what a service of theirs belongs to.
GROUPS = {"ecs": "cluster", "kubernetes": "namespace"}
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_COLUMNS = "id, holder, reason, digest, started_at, expires_at, finished_at, result"
_SELECT = "SELECT {} FROM {} WHERE {}"


@dataclass(frozen=True)
class Scope:
    """`fleet`, or `<orchestrator>/<group>/<service>`; scope_of() checks what a user wrote."""

    name: str = "fleet"

    @property
    def is_fleet(self) -> bool:
        return self.name == "fleet"

    @property
    def rollouts(self) -> str:
        """The table of the rollouts."""
        return "fleet_rollout" if self.is_fleet else "scoped_rollout"

    @property
    def steps(self) -> str:
        """The table of their steps."""
        return f"{self.rollouts}_step"

    @property
    def mine(self) -> str:
        """The condition on a row of `rollouts`; its parameter is `scope`."""
        return "true" if self.is_fleet else "scope = %(scope)s"

    @property
    def select(self) -> str:
        """The beginning of a statement that reads RolloutRecords; conditions are added with AND."""
        columns = _COLUMNS if self.is_fleet else f"{_COLUMNS}, scope"
        return _SELECT.format(columns, self.rollouts, self.mine)

    @property
    def noun(self) -> str:
        return "rollout" if self.is_fleet else "deployment"

    @property
    def about(self) -> str:
        """What is locked, at the beginning of a sentence."""
        if self.is_fleet:
            return "The fleet"
        orchestrator, group, service = self.name.split("/")
        return f"The service {service} in the {GROUPS[orchestrator]} {group}"


FLEET = Scope()


def scope_of(name: str) -> Scope:
    """The scope that a user wrote. An ECS cluster may be given by its ARN: both names mean the same lock."""
    parts = name.split("/")
    if parts[0] == "ecs" and len(parts) == 4 and parts[1].startswith("arn:"):
        parts = [parts[0], *parts[2:]]
    known = len(parts) == 3 and parts[0] in GROUPS and all(_PART.fullmatch(part) for part in parts[1:])
    if name != FLEET.name and not known:
        forms = " or ".join(f"{orchestrator}/<{group}>/<service>" for orchestrator, group in GROUPS.items())
        raise FleetError(f"scope: {name!r} is no scope. Use fleet, {forms}, such as ecs/production/permissions.")
    return Scope("/".join(parts))
