# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log lines of the tasks of services, from CloudWatch Logs: the last ones, and new ones while they come."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws.api import RefusedError
from .._common.progress import OperationError, Progress
from .._common.redact import redacted
from .container_logs import ContainerLogs
from .service_deployment import short
from .service_deployments import ServiceDeployments
from .usage import TASKS_AT_ONCE, portions

BETWEEN_LOOKS = 1.0
NO_GROUP = "ResourceNotFoundException"


@dataclass
class Stream:
    """The log stream of one container; `token` is where the next lines begin, "" before the first look."""

    label: str
    region: str
    group: str
    name: str
    token: str = ""


@dataclass
class ServiceLogs:
    """Of some services; `container` is "" for all. Tasks that start meanwhile are found, too."""

    logs: ContainerLogs
    services: Sequence[ServiceDeployments]
    container: str
    lines: int
    _streams: dict[str, Stream] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self) -> list[str]:
        """The lines since the last call; of the first one, the last ones of each container."""
        for service in self.services:
            for task in self._tasks(service):
                self._find_streams(service, task)
        if not self._streams and self.container:
            raise OperationError(
                f"No running task of {', '.join(one.name for one in self.services)} has a container {self.container} "
                "that logs to CloudWatch Logs. Correct the container's name."
            )
        found = [event for stream in self._streams.values() for event in self._events(stream)]
        return [line for _time, line in sorted(found, key=lambda event: event[0])]

    def follow(self, progress: Progress, until: str = "") -> list[str]:
        """Until the timeout of `progress`, which says each line, or until a line matches `until`.

        OperationError where none does in time, or for an invalid expression.
        """
        try:
            sought = re.compile(until)
        except re.error as error:
            raise OperationError(f"{until} is not a regular expression: {error}.") from error
        lines: list[str] = []

        def look() -> bool:
            new = self.read()
            for line in new:
                progress.say(line)
            lines.extend(new)
            return bool(until) and any(sought.search(line) for line in new)

        if not progress.wait(look, BETWEEN_LOOKS) and until:
            last = f" The last line: {lines[-1]}" if lines else " There were no lines."
            names = ", ".join(one.name for one in self.services)
            raise OperationError(
                f"No log line of the running tasks of {names} matched {until} within {progress.timeout:g} s.{last}"
            )
        return lines

    def _tasks(self, service: ServiceDeployments) -> Iterator[Mapping[str, Any]]:
        if service.find() is None:
            raise OperationError(f"There is no {service.about.removeprefix('the ')}. Deploy it with ecs_deploy.yml.")
        listed = list(service.pages("ListTasks", "taskArns", serviceName=service.name, desiredStatus="RUNNING"))
        for arns in portions(listed, TASKS_AT_ONCE):
            yield from service.call("DescribeTasks", tasks=arns)["tasks"]

    def _find_streams(self, service: ServiceDeployments, task: Mapping[str, Any]) -> None:
        for container in task.get("containers", []):
            name, arn = container["name"], task["taskArn"]
            key = f"{arn} {name}"
            if key in self._streams or (self.container and name != self.container):
                continue
            options = self.logs.options(task["taskDefinitionArn"], name)
            prefix = (options or {}).get("awslogs-stream-prefix")
            if options is None or not prefix:
                note = f"{service.name} {name}: its log driver is not awslogs with a stream prefix, so it is not read"
                self.notes += [note] if note not in self.notes else []
                continue
            label = f"{service.name} {name} {short(arn)[:8]}"
            region, group = options.get("awslogs-region", ""), options["awslogs-group"]
            self._streams[key] = Stream(label, region, group, f"{prefix}/{name}/{short(arn)}")

    def _events(self, stream: Stream) -> Iterator[tuple[int, str]]:
        where = {"nextToken": stream.token, "startFromHead": True} if stream.token else {"limit": self.lines}
        try:
            said = self.logs.logs(stream.region).call(
                "GetLogEvents",
                f"the log stream {stream.name} of {stream.group}",
                logGroupName=stream.group,
                logStreamName=stream.name,
                **where,
            )
        except RefusedError as error:
            if error.code != NO_GROUP:
                raise
            return  # The container has written nothing yet.
        stream.token = said["nextForwardToken"]
        for event in said["events"]:
            yield event["timestamp"], f"{stream.label}: {redacted(event['message'].rstrip())}"
