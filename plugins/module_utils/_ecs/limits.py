# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS refuses in a task definition, told before it is asked, and all at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .defaults import TEXT_MAPS, UNORDERED, Definition, tidy
from .images import Reference

Container = Mapping[str, Any]
FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
GIB = 1024
# CPU units to MiB of memory (Amazon ECS Developer Guide, "Task size"). AWS decides about other CPU values.
FARGATE_MEMORY: dict[int, Sequence[int]] = {
    256: (512, 1 * GIB, 2 * GIB),
    512: range(1 * GIB, 4 * GIB + 1, GIB),
    1024: range(2 * GIB, 8 * GIB + 1, GIB),
    2048: range(4 * GIB, 16 * GIB + 1, GIB),
    4096: range(8 * GIB, 30 * GIB + 1, GIB),
    8192: range(16 * GIB, 60 * GIB + 1, 4 * GIB),
    16384: range(32 * GIB, 120 * GIB + 1, 8 * GIB),
}
LONGEST_STOP_ON_FARGATE = 120
LISTS = ("containerDefinitions", *(name for name, fields in UNORDERED.items() if fields))
STRUCTURES = ("healthCheck", "logConfiguration", "linuxParameters", "restartPolicy", "runtimePlatform", *TEXT_MAPS)


def shape_problems(definition: Definition) -> list[str]:
    """Lists of the API that are declared as something else; the other functions of this package need them as lists."""
    found = list(_misshapen(definition, "", "the task definition"))
    containers = definition.get("containerDefinitions")
    for number, container in enumerate(containers if isinstance(containers, list) else [], 1):
        if isinstance(container, Mapping):
            found += _misshapen(container, "", f"container {container.get('name') or number}")
    return found


def _misshapen(value: Mapping[str, Any], path: str, where: str) -> Iterator[str]:
    for name, entries in value.items():
        if name in LISTS and entries is not None:
            like = " and ".join(UNORDERED.get(name) or ("name",))
            if isinstance(entries, Mapping):
                yield f"{path}{name} of {where} is a mapping: declare a list of mappings with {like}, as in the API."
            elif not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
                yield f"{path}{name} of {where} is not a list of mappings: declare one, as in the API."
            elif name == "environment":
                # botocore's refusal would show the value.
                for variable in entries:
                    if isinstance(variable.get("value"), (Mapping, list)):
                        yield f"the variable {variable.get('name')} of {where} is no text: apply the filter to_json."
        elif name in STRUCTURES and entries is not None and not isinstance(entries, Mapping):
            yield f"{path}{name} of {where} is not a mapping: declare one, as in the API."
        elif isinstance(entries, Mapping) and name not in TEXT_MAPS:
            yield from _misshapen(entries, f"{path}{name}.", where)


def problems(definition: Definition) -> list[str]:
    """Sentences that name the container and the remedy; empty where nothing is known to be wrong.

    For a definition without shape problems.
    """
    tidied = tidy(definition)
    containers = tidied.get("containerDefinitions", [])
    return [*_of_task(tidied, containers), *_of_containers(tidied, containers), *_of_fargate(tidied, containers)]


def fargate_problem(cpu: str, memory: str) -> str:
    """Why Fargate has no tasks of this size; "" where it has, or where only AWS knows."""
    if not cpu or not memory:
        return "Fargate needs cpu and memory of the task: set both, such as cpu: 256 and memory: 512."
    if not cpu.isdigit() or not memory.isdigit() or int(cpu) not in FARGATE_MEMORY:
        return ""
    allowed = FARGATE_MEMORY[int(cpu)]
    if int(memory) in allowed:
        return ""
    return f"Fargate has no tasks with cpu {cpu} and memory {memory}. With cpu {cpu}, memory is {_memories(allowed)}."


def _memories(allowed: Sequence[int]) -> str:
    if isinstance(allowed, range):
        return f"from {allowed[0]} to {allowed[-1]} in steps of {allowed.step}"
    return f"{', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"


def fargate_choices() -> str:
    """All sizes that are known here, for a message."""
    return "; ".join(f"cpu {cpu}: memory {_memories(allowed)}" for cpu, allowed in FARGATE_MEMORY.items())


def _of_task(task: Definition, containers: Sequence[Container]) -> Iterator[str]:
    family = str(task.get("family", ""))
    if not FAMILY.fullmatch(family):
        given = f"the family {family!r} is not a name that AWS takes" if family else "family is missing"
        yield f"{given}: set 1 to 255 letters, digits, hyphens and underscores."
    if not containers:
        yield "containerDefinitions is empty: declare at least one container."
    elif not any(container.get("essential", True) for container in containers):
        yield "no container is essential: set essential: true on the one without which the task has to stop."
    for name in _twice(str(container.get("name", "")) for container in containers):
        yield f"two containers are called {name}: give each its own name."
    yield from _sizes(task, containers)


def _sizes(task: Definition, containers: Sequence[Container]) -> Iterator[str]:
    for field, unit in (("cpu", "CPU units"), ("memory", "MiB")):
        limit = str(task.get(field, ""))
        values = [container.get("memoryReservation") if field == "memory" else None for container in containers]
        asked = [value or container.get(field, 0) for value, container in zip(values, containers)]
        total = sum(value for value in asked if isinstance(value, int))
        if limit.isdigit() and total > int(limit):
            yield (
                f"the containers' {field} is {total} {unit} together and the task's is {limit}: raise the task's "
                f"{field} or lower theirs."
            )


def _of_containers(task: Definition, containers: Sequence[Container]) -> Iterator[str]:
    by_name = {str(container.get("name", "")): container for container in containers}
    volumes = {str(volume.get("name", "")) for volume in task.get("volumes", [])}
    for number, container in enumerate(containers, 1):
        name = str(container.get("name", ""))
        where = f"container {name or number}"
        if not name:
            yield f"{where} has no name: set one."
        if not container.get("image"):
            yield f"{where} has no image: set image, or name the container in images."
        if not ({"memory", "memoryReservation"} & set(container) or task.get("memory")):
            yield f"{where} has no memory and neither has the task: set memory of one of them."
        if _is_lower(container.get("memory"), container.get("memoryReservation")):
            yield f"{where} has less memory than memoryReservation: raise memory, its hard limit."
        yield from _variables(where, container)
        if container.get("secrets") and not task.get("executionRoleArn"):
            yield f"{where} has secrets, which the execution role reads: set executionRoleArn of the task."
        yield from _dependencies(where, container, by_name)
        for mount in container.get("mountPoints", []):
            if mount.get("sourceVolume") and mount["sourceVolume"] not in volumes:
                yield f"{where} mounts {mount['sourceVolume']}, which volumes lacks: declare it there."
        if task.get("networkMode") in ("awsvpc", "host"):
            yield from _host_ports(where, container, task["networkMode"])
    graph = {name: [need["containerName"] for need in _needs(container)] for name, container in by_name.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"the containers {' → '.join(error.args[1])} depend on each other in a circle: remove one dependsOn."


def _variables(where: str, container: Container) -> Iterator[str]:
    variables = [str(entry.get("name", "")) for entry in container.get("environment", [])]
    secrets = [str(entry.get("name", "")) for entry in container.get("secrets", [])]
    for name in _twice(secrets):
        yield f"{where} has the secret {name} twice: remove one."
    for name in _twice(variables):
        yield f"{where} has the variable {name} twice in environment: remove one."
    for name in sorted(set(secrets) & set(variables)):
        yield f"{where} has {name} both in secrets and in environment: remove one."


def _needs(container: Container) -> list[Mapping[str, Any]]:
    return [need for need in container.get("dependsOn", []) if need.get("containerName")]


def _dependencies(where: str, container: Container, by_name: Mapping[str, Container]) -> Iterator[str]:
    for need in _needs(container):
        name, condition = need["containerName"], need.get("condition")
        other = by_name.get(name)
        if other is None:
            yield f"{where} depends on {name}, which is not a container of this task: correct dependsOn."
        elif condition == "HEALTHY" and "healthCheck" not in other:
            yield f"{where} waits until {name} is HEALTHY, which has no healthCheck: add it, or wait for START."
        elif condition in ("SUCCESS", "COMPLETE") and other.get("essential", True):
            yield f"{where} waits until {name} is {condition}, which is essential: set essential: false on {name}."


def _host_ports(where: str, container: Container, mode: str) -> Iterator[str]:
    for mapping in container.get("portMappings", []):
        inner, outer = mapping.get("containerPort"), mapping.get("hostPort")
        if outer and inner and outer != inner:
            yield f"{where} maps port {inner} to {outer}; with networkMode {mode} both are equal: leave out hostPort."


def _of_fargate(task: Definition, containers: Sequence[Container]) -> Iterator[str]:
    if "FARGATE" not in task.get("requiresCompatibilities", []):
        return
    if task.get("networkMode") != "awsvpc":
        yield f"Fargate needs networkMode awsvpc, and it is {task.get('networkMode', 'not set')}: set it."
    problem = fargate_problem(str(task.get("cpu", "")), str(task.get("memory", "")))
    if problem:
        yield problem
    for container in containers:
        name = container.get("name")
        if _is_lower(LONGEST_STOP_ON_FARGATE, container.get("stopTimeout")):
            yield f"container {name} has a stopTimeout over {LONGEST_STOP_ON_FARGATE} s, the most on Fargate: lower it."
        if container.get("privileged"):
            yield f"container {name} is privileged, which Fargate has not: remove privileged, or use EC2."
        for reason in _execution_role_reasons(container):
            if not task.get("executionRoleArn"):
                yield f"container {name} {reason}, for which Fargate needs an execution role: set executionRoleArn."


def _execution_role_reasons(container: Container) -> Iterator[str]:
    if Reference.of(str(container.get("image", ""))).in_ecr:
        yield "has an image of Amazon ECR"
    if container.get("logConfiguration", {}).get("logDriver") == "awslogs":
        yield "has the log driver awslogs"


def _is_lower(value: Any, other: Any) -> bool:
    return isinstance(value, int) and isinstance(other, int) and value < other


def _twice(names: Any) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if name and count > 1)
