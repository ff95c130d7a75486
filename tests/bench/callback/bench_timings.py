# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the time of each task, and of the phases that modules report, to the file $BENCH_TIMINGS."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: bench_timings
type: aggregate
short_description: Timings of tasks for the benchmark
description:
  - Writes the time of each task and the C(timings) of its results to a file.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "bench_timings"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[dict[str, Any]] = []

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        del is_conditional
        self.tasks.append({"name": task.get_name(), "began": time.time(), "hosts": {}})

    def v2_runner_on_ok(self, result: Any) -> None:
        task = self.tasks[-1]
        task["hosts"][result.host.get_name()] = {
            "after": round(time.time() - task["began"], 3),
            "timings": result.result.get("timings", {}),
        }

    def v2_playbook_on_stats(self, stats: Any) -> None:
        del stats
        ends = [task["began"] for task in self.tasks[1:]] + [time.time()]
        for task, end in zip(self.tasks, ends, strict=True):
            task["seconds"] = round(end - task.pop("began"), 3)
        Path(os.environ["BENCH_TIMINGS"]).write_text(json.dumps(self.tasks))
