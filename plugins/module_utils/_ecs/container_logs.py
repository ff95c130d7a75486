# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last log lines of a task's containers, from CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import Api, RefusedError
from .._common.progress import OperationError
from .._common.redact import redacted
from .definition_lookup import described_definition
from .service_deployment import StoppedTask, short


@dataclass
class ContainerLogs:
    """`logs` makes a client of CloudWatch Logs for a region; containers may log to another one than theirs."""

    ecs: Api
    logs: Callable[[str], Api]
    _definitions: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def tail(self, task: StoppedTask, lines: int, *, of_all: bool = False) -> list[str]:
        """The last lines of the containers that say why the task stopped, or of all; or why there are none.

        Secrets are hidden.
        """
        if lines < 1:
            return []
        try:
            return [
                line
                for one in (task.containers if of_all else task.culprits)
                for line in self._tail_of(task, one.name, lines)
            ]
        except OperationError as error:
            return [f"(no log lines: {error})"]

    def _tail_of(self, task: StoppedTask, container: str, lines: int) -> list[str]:
        options = self.options(task.definition, container)
        if options is None:
            return [f"({container} does not log to CloudWatch Logs)"]
        prefix = options.get("awslogs-stream-prefix")
        if not prefix:
            return [f"({container} has no awslogs-stream-prefix, so its log stream is not known)"]
        stream, group = f"{prefix}/{container}/{short(task.arn)}", options["awslogs-group"]
        try:
            said = self.logs(options.get("awslogs-region", "")).call(
                "GetLogEvents",
                f"the log stream {stream} of {group}",
                logGroupName=group,
                logStreamName=stream,
                limit=lines,
                startFromHead=False,
            )
        except RefusedError as error:
            if error.code == "ResourceNotFoundException":
                return [f"({container} has written no log to {group})"]
            raise
        return [f"{container}: {redacted(event['message'].rstrip())}" for event in said["events"]]

    def options(self, definition: str, container: str) -> Mapping[str, str] | None:
        """Those of awslogs; None where the container logs elsewhere."""
        if definition not in self._definitions:
            self._definitions[definition] = described_definition(self.ecs, definition)
        for one in self._definitions[definition]["containerDefinitions"]:
            configuration = one.get("logConfiguration", {})
            if one["name"] == container and configuration.get("logDriver") == "awslogs":
                options: Mapping[str, str] = configuration["options"]
                return options
        return None
