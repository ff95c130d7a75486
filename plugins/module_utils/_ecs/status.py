# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of services as an operator reads it: a table, sentences, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .service_deployment import short

SCHEMA = 1
FAILED = ("STOPPED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
HEAD = ("service", "revision", "tasks", "deployment", "last good", "declaration")
SHELL = "/bin/sh"
Service = Mapping[str, Any]


def status_of(services: Mapping[str, Service], cluster: str, region: str) -> dict[str, Any]:
    """Of ecs_services_info's `services` with their states; see the filter for the shape."""
    found = [_of_one(name, one, cluster, region) for name, one in services.items()]
    problems = [f"{one['name']}: {words}" for one in found for words in one["problems"]]
    return {"schema": SCHEMA, "cluster": cluster, "services": found, "problems": problems}


def _of_one(name: str, one: Service, cluster: str, region: str) -> dict[str, Any]:
    state: Mapping[str, Any] = one["state"]
    deployment: Mapping[str, Any] = state["deployment"] or {}
    tasks: Sequence[Mapping[str, Any]] = state["tasks"]
    return {
        "name": name,
        "exists": state["exists"],
        "revision": short(state["task_definition"]),
        "desired": state["desired"],
        "running": state["running"],
        "pending": state["pending"],
        "deployment": {key: deployment[key] for key in ("status", "reason", "created_at") if key in deployment},
        "last_good": short(state["last_good"]),
        "way_back": short(state["way_back"]),
        "drift": list(one["steps"]) if one["changed"] and not one["problems"] else [],
        "tasks": [_running(task) for task in tasks],
        "stopped": [_stopped(task) for task in state["stopped_tasks"]],
        "exec": list(_exec(state, tasks, cluster, region)),
        "events": list(state["events"]),
        "problems": list(_problems(one, state, deployment, tasks)),
    }


def _problems(
    one: Service, state: Mapping[str, Any], deployment: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    yield from (f"it could not be compared: {words}" for words in one["problems"])
    if not state["exists"]:
        if not one["problems"]:
            yield "it does not exist. Deploy it with ecs_deploy.yml."
        return
    if state["running"] < state["desired"]:
        yield f"{state['running']} of {state['desired']} tasks run."
    status = str(deployment.get("status", ""))
    if status in FAILED:
        because = f": {str(deployment['reason']).rstrip('.')}" if deployment.get("reason") else ""
        yield f"its last deployment is {status}{because}."
    sick = [short(task["task"]) for task in tasks if task["health"] == "UNHEALTHY"]
    if sick:
        yield f"unhealthy tasks: {', '.join(sick)}."
    yield from (words for task in tasks if task["status"] == "RUNNING" for words in _ended(task))
    if one["changed"] and not one["problems"] and not one["joins"]:
        steps = "; ".join(one["steps"])
        yield f"it differs from its declaration ({steps}). Run ecs_deploy.yml, or correct ecs_services."


def _ended(task: Mapping[str, Any]) -> Iterator[str]:
    """Containers that are not essential, and without which the task runs on. One that did its work exits with 0."""
    for one in task["containers"]:
        if one["status"] == "STOPPED" and one["exit_code"] != 0:
            code = "no exit code" if one["exit_code"] is None else f"exit code {one['exit_code']}"
            reason = f", {one['reason']}" if one["reason"] else ""
            where = f"the container {one['name']} of task {short(task['task'])}"
            yield f"{where} has stopped ({code}{reason}). See ecs_logs.yml."


def _running(task: Mapping[str, Any]) -> dict[str, Any]:
    return {**task, "task": short(task["task"]), "task_definition": short(task["task_definition"])}


def _stopped(task: Mapping[str, Any]) -> str:
    told = []
    for one in task["containers"]:
        code = f"exit code {one['exit_code']}" if one["exit_code"] is not None else ""
        words = ", ".join(part for part in (code, one["reason"]) if part)
        told += [f"{one['name']}: {words}"] if words else []
    codes = "; ".join(told)
    reason = str(task["reason"] or task["stop_code"]).rstrip(".")
    return f"{short(task['task'])}: {reason}{f' ({codes})' if codes else ''}"


def _exec(state: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], cluster: str, region: str) -> Iterator[str]:
    """The command that opens a shell in each container of the newest running task, or why there is none."""
    if not state["exec_enabled"]:
        return
    running = [task for task in tasks if task["status"] == "RUNNING"]
    ready = [task for task in running if all(one["exec_agent"] == "RUNNING" for one in task["containers"])]
    for task in ready[:1]:
        for one in task["containers"]:
            yield (
                f"aws ecs execute-command {f'--region {region} ' if region else ''}--cluster {cluster} "
                f"--task {short(task['task'])} --container {one['name']} --interactive --command {SHELL}"
            )
    if not ready:
        yield (
            "ECS Exec is not ready: no running task has a running ExecuteCommandAgent. Tasks that started before "
            "enableExecuteCommand have none; ecs_deploy.yml -e ecs_force=true starts them again."
        )


def rows(status: Mapping[str, Any]) -> list[Sequence[Any]]:
    """The table's rows, the head first."""
    found: list[Sequence[Any]] = [HEAD]
    for one in status["services"]:
        pending = f" (+{one['pending']})" if one["pending"] else ""
        found.append(
            (
                one["name"],
                one["revision"] or "-",
                f"{one['running']}/{one['desired']}{pending}",
                one["deployment"].get("status") or "-",
                one["last_good"] or "-",
                "differs" if one["drift"] else "-" if one["problems"] and not one["exists"] else "as declared",
            )
        )
    return found


def words(status: Mapping[str, Any]) -> list[str]:
    """What does not fit in the table."""
    found = []
    for one in status["services"]:
        found += [f"{one['name']}: failed in the last hour: {line}" for line in one["stopped"]]
        found += [f"{one['name']}: {line}" for line in one["exec"]]
    return found + [f"PROBLEM: {line}" for line in status["problems"]]
