# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's secrets and the database's address."""

from __future__ import annotations

from dataclasses import dataclass, field


class SecretError(Exception):
    """A secret that could not be read; the text names it and never holds its value."""


@dataclass(frozen=True)
class Secrets:
    values: dict[str, str] = field(repr=False)
    source: str
    wanted: tuple[str, ...] = ()
    conninfo: str | None = field(default=None, repr=False)

    @property
    def missing(self) -> list[str]:
        return [name for name in self.wanted if not self.values.get(name)]
