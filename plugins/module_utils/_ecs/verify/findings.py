# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would make a deployment on ECS fail, found before it begins. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

from ..._aws.asked_once import SharedClients
from ..._common.progress import OperationError


class Declared(TypedDict):
    """`task` is a task definition, `service` has parameters of CreateService; both with AWS's names.

    `desired_count` is None where it is not known.
    """

    cluster: str
    task: dict[str, Any]
    service: dict[str, Any]
    desired_count: int | None


@dataclass(frozen=True)
class Finding:
    """`subject` is the object with the fault, such as `container api`.

    `missing` is an object that does not exist and that the caller may be about to create, such as `log group /ecs/api`.
    """

    subject: str
    problem: str
    remedy: str
    missing: str = ""

    @property
    def words(self) -> str:
        return f"{self.subject}: {self.problem}. {self.remedy}"

    def result(self) -> dict[str, str]:
        return {"subject": self.subject, "problem": self.problem, "remedy": self.remedy}


# Gives the API of a service of AWS, in the region of the play or in another one.
Clients = SharedClients
Check = Callable[[Declared, Clients], Iterator[Finding]]


def answered(check: Check, declared: Declared, clients: Clients) -> list[Finding]:
    """The findings of a check. One that AWS does not answer is a finding, too: what is not known is not well."""
    found: list[Finding] = []
    try:
        for finding in check(declared, clients):
            found.append(finding)
    except OperationError as error:
        found.append(Finding(f"check of {check.__name__}", f"not all was checked: {str(error).rstrip('.')}", ""))
    return found
