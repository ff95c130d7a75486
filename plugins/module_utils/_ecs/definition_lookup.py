# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task definition by the names that AWS takes for one."""

from __future__ import annotations

from typing import Any

from .._aws.api import Api, RefusedError
from .._common.progress import OperationError

# Stands in check mode for the revision that a run would register before.
NEW_REVISION = "(a new revision)"


def described_definition(ecs: Api, name: str) -> dict[str, Any]:
    """As the API describes it, of an ARN, `family:revision`, or a family for its newest active revision."""
    if not name:
        raise OperationError(
            "task_definition is empty. Only check mode takes that, for a revision that does not exist yet."
        )
    try:
        said = ecs.call("DescribeTaskDefinition", f"the task definition {name}", taskDefinition=name)
    except RefusedError as error:
        if error.code != "ClientException":
            raise
        raise OperationError(
            f"There is no task definition {name} ({error.said.rstrip('.')}). Register it with ecs_task_definition, or "
            "correct its name."
        ) from error
    found: dict[str, Any] = said["taskDefinition"]
    return found
