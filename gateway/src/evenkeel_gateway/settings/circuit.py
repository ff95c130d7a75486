# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The circuit breakers of the backends."""

from __future__ import annotations

from pydantic import Field

from evenkeel_gateway.settings.part import Part

_CHECK_SECONDS = 1.0
_LEAST_CHECKS = 5


class CircuitSettings(Part):
    circuit_errors: int = Field(default=10, ge=0, le=10000)
    """Consecutive failed responses that open a circuit; 0: only failed health checks open it."""
    circuit_open_seconds: float = Field(default=30.0, ge=0.5, le=3600)
    circuit_slow_seconds: float | None = Field(default=None, gt=0)
    """Responses that take longer are slow; None: no response is."""
    circuit_slow_percent: float = Field(default=50.0, gt=0, le=100)
    circuit_slow_window_seconds: float = Field(default=10.0, ge=1, le=600)
    circuit_slow_requests: int = Field(default=20, ge=1)
    """The minimum of responses in the window."""

    @property
    def circuit_check_seconds(self) -> float:
        """The interval of health checks while a circuit is open: HAProxy closes it after `circuit_checks` of them."""
        return min(_CHECK_SECONDS, self.circuit_open_seconds / _LEAST_CHECKS)

    @property
    def circuit_checks(self) -> int:
        return round(self.circuit_open_seconds / self.circuit_check_seconds)
