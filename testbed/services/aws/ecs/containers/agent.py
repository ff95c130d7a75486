# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent of real containers."""

from __future__ import annotations

from collections.abc import Mapping

from ..agent import Order, TaskReport
from .task import RunningTask, Surroundings


class ContainerAgent:
    """Runs each task in a thread. The engine's calls return at once."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._tasks: dict[str, RunningTask] = {}
        self._forgotten: list[RunningTask] = []

    def start(self, order: Order, _now: float) -> None:
        self._tasks[order.arn] = RunningTask(order, self._around)

    def stop(self, arn: str, _now: float) -> None:
        if arn in self._tasks:
            self._tasks[arn].stop()

    def forget(self, arn: str) -> None:
        task = self._tasks.pop(arn, None)
        if task:
            task.forget()
            self._forgotten = [one for one in self._forgotten if one.alive] + [task]

    def states(self, _now: float) -> Mapping[str, TaskReport]:
        return {arn: task.report() for arn, task in self._tasks.items()}

    def close(self) -> None:
        """End all tasks without ado, and wait until what they made is removed."""
        for arn in list(self._tasks):
            self.forget(arn)
        for task in self._forgotten:
            task.join(20)
