# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of modules that can't, or may not, do what was requested."""

from __future__ import annotations

from typing import Any


class FleetError(Exception):
    """One paragraph for an operator: what happened and what to do. `facts` go into the module's result."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class DatabaseError(FleetError):
    """`state`: the SQLSTATE. `out_of_reach`: it did not answer. `in_doubt`: the answer to a commit was lost."""

    def __init__(
        self, message: str, *, state: str | None = None, out_of_reach: bool = False, in_doubt: bool = False
    ) -> None:
        super().__init__(message)
        self.state = state
        self.out_of_reach = out_of_reach
        self.in_doubt = in_doubt

    @property
    def busy(self) -> bool:
        """Lock timeout or deadlock: another session held a lock. Nothing was changed."""
        return self.state in ("55P03", "40P01")


class RefusalError(FleetError):
    """The request was refused. `refusal` is the reason as a code."""

    def __init__(self, refusal: str, message: str, **facts: Any) -> None:
        super().__init__(message, refusal=refusal, **facts)
        self.refusal = refusal
