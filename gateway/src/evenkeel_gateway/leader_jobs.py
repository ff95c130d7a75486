# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own jobs of the leader; `jobs` says how to write one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenkeel_gateway.jobs import Job
from evenkeel_gateway.purge import purge

if TYPE_CHECKING:
    from evenkeel_gateway.settings import Settings


def own(settings: Settings) -> list[Job]:
    return [Job("purge", settings.purge_interval_seconds, lambda leadership: purge(leadership, settings))]
