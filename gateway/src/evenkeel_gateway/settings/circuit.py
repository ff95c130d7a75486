# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a backend is left alone for a while."""

from __future__ import annotations

from evenkeel_gateway.settings.part import Part


class CircuitSettings(Part):
    pass
