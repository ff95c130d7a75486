# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings and the token keys in force: those that HAProxy serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evenkeel_gateway.tokens import Keys

if TYPE_CHECKING:
    from evenkeel_gateway.settings import Settings


class Current:
    """Read it at each use, as a reload replaces them; only `Haproxy` writes it, when it reloads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = Keys()

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def keys(self) -> Keys:
        return self._keys

    def replace(self, settings: Settings, keys: Keys) -> None:
        self._settings, self._keys = settings, keys
