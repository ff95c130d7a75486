# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of the leader."""

from __future__ import annotations

from pydantic import Field

from evenkeel_gateway.settings.part import Part


class JobSettings(Part):
    purge_interval_seconds: float = Field(default=3600.0, gt=0)
    purge_journal_days: float = Field(default=90.0, gt=0)
    purge_batch_rows: int = Field(default=500, ge=1, le=10000)
