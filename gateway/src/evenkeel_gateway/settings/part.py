# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the settings have in common."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class Part(BaseSettings):
    """Some of the settings; `problems` says what is wrong between them, a line each, by the variable's name."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    def problems(self) -> list[str]:
        return []


def words(value: object) -> object:
    """Read a list of words from a variable, separated by commas or spaces."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value
