# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of services as data and text, with what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.filter.ecs_status import ecs_status

ARN = "arn:aws:ecs:eu-central-1:123456789012:task-definition/api"
TASK: dict[str, Any] = {
    "task": "arn:aws:ecs:eu-central-1:123456789012:task/production/0123",
    "task_definition": f"{ARN}:2",
    "status": "RUNNING",
    "health": "HEALTHY",
    "containers": [
        {
            "name": "api",
            "status": "RUNNING",
            "health": "HEALTHY",
            "exit_code": None,
            "reason": "",
            "exec_agent": "RUNNING",
        }
    ],
}
STATE: dict[str, Any] = {
    "exists": True,
    "desired": 1,
    "running": 1,
    "pending": 0,
    "task_definition": f"{ARN}:2",
    "deployment": {"status": "SUCCESSFUL", "reason": "", "created_at": None},
    "last_good": f"{ARN}:1",
    "way_back": f"{ARN}:1",
    "stopped_tasks": [],
    "tasks": [TASK],
    "exec_enabled": True,
    "events": [],
}
GOOD: dict[str, Any] = {"changed": False, "joins": False, "steps": [], "problems": [], "state": STATE}


def told(**more: Any) -> dict[str, Any]:
    state = {**STATE, **more.pop("state", {})}
    return ecs_status({"api": {**GOOD, **more, "state": state}}, cluster="production", region="eu-central-1")


def test_a_healthy_service_has_no_problems_and_a_shell() -> None:
    shown = told()
    assert shown["status"]["problems"] == []
    head, row, shell = shown["lines"]
    assert head.split()[0] == "service"
    assert row.split() == ["api", "api:2", "1/1", "SUCCESSFUL", "api:1", "as", "declared"]
    assert shell == (
        "api: aws ecs execute-command --region eu-central-1 --cluster production --task 0123 --container api "
        "--interactive --command /bin/sh"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"state": {"exists": False, "deployment": None, "tasks": []}}, "api: it does not exist."),
        ({"state": {"running": 0}}, "api: 0 of 1 tasks run."),
        (
            {"state": {"deployment": {"status": "ROLLBACK_SUCCESSFUL", "reason": "tasks failed."}}},
            "api: its last deployment is ROLLBACK_SUCCESSFUL: tasks failed.",
        ),
        ({"state": {"tasks": [{**TASK, "health": "UNHEALTHY"}]}}, "api: unhealthy tasks: 0123."),
        ({"changed": True, "steps": ["register a revision"]}, "differs from its declaration (register a revision)"),
        ({"problems": ["AWS denies it"]}, "api: it could not be compared: AWS denies it"),
    ],
)
def test_each_problem_is_named(found: dict[str, Any], words: str) -> None:
    (problem,) = told(**found)["status"]["problems"]
    assert words in problem


def test_a_deployment_that_runs_is_no_drift() -> None:
    assert told(changed=True, joins=True, steps=["wait"])["status"]["problems"] == []


def test_tasks_without_the_agent_have_no_shell() -> None:
    bare = {**TASK, "containers": [{**TASK["containers"][0], "exec_agent": ""}]}
    assert "ECS Exec is not ready" in "\n".join(told(state={"tasks": [bare]})["lines"])


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (
            {"exit_code": 1, "reason": ""},
            ["the container worker of task 0123 has stopped (exit code 1). See ecs_logs.yml."],
        ),
        ({"exit_code": None, "reason": "OutOfMemoryError"}, ["(no exit code, OutOfMemoryError)"]),
        ({"exit_code": 0, "reason": ""}, []),
    ],
)
def test_a_container_without_which_the_task_runs_on(ended: dict[str, Any], words: list[str]) -> None:
    worker = {"name": "worker", "status": "STOPPED", "health": "UNKNOWN", "exec_agent": "", **ended}
    problems = told(state={"tasks": [{**TASK, "containers": [*TASK["containers"], worker]}]})["status"]["problems"]
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems))


def test_failed_tasks_are_shown_with_their_exit_codes() -> None:
    stopped = {
        "task": "t/9",
        "stop_code": "EssentialContainerExited",
        "reason": "Essential container in task exited",
        "containers": [{"name": "api", "exit_code": 3, "reason": ""}],
    }
    assert (
        "api: failed in the last hour: 9: Essential container in task exited (api: exit code 3)"
        in told(state={"stopped_tasks": [stopped]})["lines"]
    )
