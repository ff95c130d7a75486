# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers write, as events of CloudWatch Logs: the log driver awslogs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .definition import CannotStartError, Definition
from .images import Clients

log = logging.getLogger(__name__)
BATCH = 1000
PAUSE = 0.3


class LogStream:
    """The log stream of one container. Its lines are read by a thread, and sent by flush()."""

    def __init__(self, clients: Clients, options: Definition, container: str, task: str) -> None:
        self._logs = clients("logs")
        self._group = options["awslogs-group"]
        self._stream = f"{options.get('awslogs-stream-prefix', 'ecs')}/{container}/{task}"
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._flushed = 0.0
        self._reader: threading.Thread | None = None
        if str(options.get("awslogs-create-group")).lower() == "true":
            with contextlib.suppress(self._logs.exceptions.ResourceAlreadyExistsException):
                self._logs.create_log_group(logGroupName=self._group)
        try:
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except ClientError as error:
            told = f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}"
            raise CannotStartError(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
                f"failed to create Cloudwatch log stream: {told} : exit status 1",
                container,
            ) from None

    def follow(self, engine: Any, identifier: str) -> None:
        """Read the lines of a container from its first one to its end."""
        self._reader = threading.Thread(target=self._read, args=(engine, identifier), daemon=True)
        self._reader.start()

    def flush(self, *, at_end: bool = False) -> None:
        """Send what was read. at_end: the container has ended, so wait for its last lines."""
        if at_end and self._reader:
            self._reader.join(2)
        now = time.monotonic()
        if not at_end and now - self._flushed < PAUSE:
            return
        self._flushed = now
        with self._lock:
            events, self._events = self._events, []
        for start in range(0, len(events), BATCH):
            try:
                self._logs.put_log_events(
                    logGroupName=self._group, logStreamName=self._stream, logEvents=events[start : start + BATCH]
                )
            except (BotoCoreError, ClientError) as error:
                log.warning("%s: %d log lines were lost: %s", self._stream, len(events), error)

    def _read(self, engine: Any, identifier: str) -> None:
        rest = b""
        # The engine ends the stream with an error where the container is removed.
        with contextlib.suppress(Exception):
            for chunk in engine.api.logs(identifier, stdout=True, stderr=True, stream=True, follow=True):
                *lines, rest = (rest + chunk).split(b"\n")
                self._keep(lines)
        self._keep([rest])

    def _keep(self, lines: list[bytes]) -> None:
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line.decode(errors="replace")} for line in lines if line.strip()]
        with self._lock:
            self._events += events


def streams(clients: Clients, containers: list[Definition], task: str) -> dict[str, LogStream]:
    """By container, of those that log to CloudWatch Logs."""
    return {
        item["name"]: LogStream(clients, item["logConfiguration"]["options"], item["name"], task)
        for item in containers
        if item.get("logConfiguration", {}).get("logDriver") == "awslogs"
    }
