# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Collection

from . import network, service, task
from .findings import Check, Clients, Declared, Finding, answered

CHECKS: tuple[Check, ...] = (
    service.sizes,
    service.cluster,
    service.counts,
    task.images,
    task.secrets,
    task.roles,
    task.log_groups,
    service.target_groups,
    network.network,
)


def findings_of(declared: Declared, clients: Clients, created: Collection[str] = ()) -> list[Finding]:
    """`created` are objects that the caller creates before the deployment, as `missing` of a finding names them."""
    found = [finding for check in CHECKS for finding in answered(check, declared, clients)]
    return [finding for finding in found if finding.missing not in created or not finding.missing]
