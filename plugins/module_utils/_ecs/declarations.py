# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as an operator declares them, completed with their defaults. Imports without Ansible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .._common.progress import OperationError
from .run_task import OF_A_SERVICE

Declaration = dict[str, Any]
KEEP = 10
MIGRATION_TIMEOUT = 600
PROBE = {"status": 200, "timeout": 60, "validate_certs": True}
BUILD: dict[str, Any] = {
    "dockerfile": "Dockerfile",
    "platform": "linux/amd64",
    "args": {},
    "tests": [],
    "image": "",
}


def declarations(
    services: Sequence[Mapping[str, Any]], chosen: Sequence[str] = (), prefix: str = ""
) -> list[Declaration]:
    """The chosen services, or all, in their order; OperationError for a name that is not declared, or twice.

    Names are chosen with or without the prefix that they have.

    Each has all keys of an entry of `ecs_services`. `scaling`, `migration`, `build`, `probe` and `logs` are None where
    they are not declared. `logs` has the `groups` that the containers log to, too.
    """
    names = [str(one.get("name") or "") for one in services]
    chosen = [name if name in names or prefix + name not in names else prefix + name for name in chosen]
    _refuse(names, chosen)
    return [_complete(one) for one in services if not chosen or one["name"] in chosen]


def _refuse(names: Sequence[str], chosen: Sequence[str]) -> None:
    if not names:
        raise OperationError("Nothing was changed: ecs_services is empty. Declare the services there.")
    if not all(names):
        raise OperationError("Nothing was changed: an entry of ecs_services has no name. Add it.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise OperationError(f"Nothing was changed: ecs_services has {', '.join(twice)} twice. Remove one.")
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise OperationError(
            f"Nothing was changed: ecs_service names {', '.join(unknown)}, and ecs_services has {', '.join(names)}. "
            "Correct the name, or declare the service."
        )


def _complete(one: Mapping[str, Any]) -> Declaration:
    name = str(one["name"])
    task = {"family": name, **(one.get("task") or {})}
    scaling, build, probe, logs = (one.get(key) for key in ("scaling", "build", "probe", "logs"))
    images = {container: str(image) for container, image in (one.get("images") or {}).items()}
    return {
        "name": name,
        "task": task,
        "service": dict(one.get("service") or {}),
        "images": images,
        "pin": one.get("pin") or "digest",
        "keep": int(one["keep"]) if one.get("keep") is not None else KEEP,
        "count": int(one["count"]) if one.get("count") is not None else None,
        "scaling": _scaling(scaling) if scaling else None,
        "migration": _migration(name, one["migration"], task) if one.get("migration") else None,
        "build": _build(name, build, images) if build else None,
        "probe": _probe(probe) if probe else None,
        "logs": {"retention": str(logs["retention"]), "groups": log_groups(task)}
        if logs and logs.get("retention") is not None
        else None,
        "tags": one.get("tags"),
        "required_variables": [str(name) for name in one.get("required_variables") or []],
    }


def _scaling(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "min": int(given["min"]),
        "max": int(given["max"]),
        "policies": given.get("policies"),
        "suspended": given.get("suspended") or {},
    }


def _migration(name: str, given: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    command = given.get("command")
    if not isinstance(command, (list, tuple)) or not command:
        raise OperationError(
            f"Nothing was changed: migration.command of the service {name} is not a list of words. Declare it as "
            "[program, argument]."
        )
    return {
        "container": _container(name, str(given.get("container") or ""), task),
        "command": [str(word) for word in command],
        "timeout": int(given.get("timeout") or MIGRATION_TIMEOUT),
    }


def _build(name: str, given: Mapping[str, Any], images: Mapping[str, str]) -> dict[str, Any]:
    found = {**BUILD, **{key: value for key, value in given.items() if value is not None}}
    if not found["image"]:
        several = sorted(set(images.values()))
        if len(several) != 1:
            raise OperationError(
                f"Nothing was changed: it is unknown which image the build of the service {name} makes, because images "
                f"has {', '.join(several) or 'none'}. Set build.image to one of them."
            )
        found["image"] = several[0]
    return found


def _probe(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {**PROBE, **{key: value for key, value in given.items() if value is not None}}
    return {**found, "status": int(found["status"]), "timeout": int(found["timeout"])}


def _container(service: str, container: str, task: Mapping[str, Any]) -> str:
    known = [str(one.get("name", "")) for one in task.get("containerDefinitions") or []]
    found = container or main_container(task)
    if found not in known:
        raise OperationError(
            f"Nothing was changed: the task of the service {service} has no container {found}. It has "
            f"{', '.join(known) or 'none'}. Correct the name."
        )
    return found


def one_off(one: Mapping[str, Any], command: Sequence[str], container: str = "") -> dict[str, Any]:
    """Parameters of RunTask for a command in a container of a declared service, by default the first essential one."""
    words = [str(word) for word in command]
    name = _container(one["name"], container, one["task"])
    placed = {key: one["service"][key] for key in OF_A_SERVICE if one["service"].get(key)}
    return {**placed, "overrides": {"containerOverrides": [{"name": name, "command": words}]}}


def main_container(task: Mapping[str, Any]) -> str:
    """The first essential container; AWS takes a container for essential unless it says otherwise."""
    containers = task.get("containerDefinitions") or []
    essential = [str(one.get("name", "")) for one in containers if one.get("essential", True)]
    return essential[0] if essential else ""


def log_groups(task: Mapping[str, Any]) -> list[str]:
    """Those that the containers log to with awslogs, each once."""
    found = []
    for container in task.get("containerDefinitions") or []:
        configuration = container.get("logConfiguration") or {}
        group = (configuration.get("options") or {}).get("awslogs-group")
        if configuration.get("logDriver") == "awslogs" and group and group not in found:
            found.append(str(group))
    return found


def built_images(services: Sequence[Declaration]) -> list[dict[str, Any]]:
    """The builds of the services, each image once."""
    builds = {one["build"]["image"]: one["build"] for one in services if one["build"]}
    return list(builds.values())
