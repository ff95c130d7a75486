# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide to a private network has a place for each AWS command of a runbook, and what it names there exists."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from tests.checkout.support import CHECKOUT, paths

PAGE = CHECKOUT / "docs" / "how-to" / "ecs_internalize.md"
ALARMS = CHECKOUT / "plugins" / "module_utils" / "_ecs" / "service_alarms.py"
# Settings of a service that Amazon ECS documents.
FROM_AWS = {"enableExecuteCommand"}
# Of a runbook that does the same by hand.
COMMANDS = {
    "--version",
    "ec2 allocate-address",
    "ec2 authorize-security-group-ingress",
    "ec2 create-nat-gateway",
    "ec2 create-route",
    "ec2 describe-security-groups",
    "ec2 describe-subnets",
    "ec2 wait",
    "ecr describe-images",
    "ecs create-service",
    "ecs describe-services",
    "ecs execute-command",
    "ecs register-task-definition",
    "ecs update-service",
    "elbv2 create-listener",
    "elbv2 create-load-balancer",
    "elbv2 create-target-group",
    "elbv2 describe-load-balancers",
    "elbv2 describe-target-health",
    "logs describe-log-streams",
    "ssm put-parameter",
    "sts get-caller-identity",
}


def table() -> list[tuple[str, str]]:
    """By hand, and here."""
    section = PAGE.read_text().partition("## From AWS commands to playbooks")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ", 1) for line in section.splitlines() if line.startswith("| ")]
    return [(hand, here) for hand, here in rows[1:]]


def options(found: Any) -> Iterator[str]:
    """The names of options, and of those within them."""
    for name, option in (found or {}).items():
        yield name
        yield from options(option.get("options"))


@cache
def known() -> set[str]:
    """The variables of all roles with the keys in them, and the modules."""
    found = {path.stem for path in paths("plugins/modules/*.py")}
    for path in paths("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(options(entry.get("options")))
    for path in paths("inventories/aws/group_vars/*.yml"):
        found |= {name for name in yaml.safe_load(path.read_text()) or {} if name.startswith("fleet_")}
    return found | FROM_AWS


@cache
def tags() -> set[str]:
    """Of the tasks of all roles."""
    found = re.findall(
        r"^ *tags: \[(.*)\]", "\n".join(path.read_text() for path in paths("roles/*/tasks/**/*.yml")), re.M
    )
    return {tag.strip() for group in found for tag in group.split(",")}


def unknown(code: str) -> list[str]:
    """What a piece of code names that does not exist: playbooks, and the variables, modules and tags beside them."""
    name, *words = code.split()
    if re.fullmatch(r"[A-Z]+(-[A-Z]+)*(-[a-z]+)+", name):
        # An alarm: the part behind the placeholders.
        return [] if re.sub(r"[A-Z]+-", "", name) in ALARMS.read_text() else [name]
    if name.endswith(".yml"):
        found = [] if (CHECKOUT / "playbooks" / name).is_file() else [name]
    else:
        words, found = [name, *words], []
    if not name.endswith(".yml") and name != "-e":
        return [] if name.rstrip(":") in known() else [name]
    for option, value in itertools.pairwise([*words, ""]):
        if option == "-e" and value.partition("=")[0] not in known():
            found.append(value.partition("=")[0])
        if option == "--tags" and value not in tags():
            found.append(value)
    return found


def test_each_command_has_its_place() -> None:
    found = {match for hand, _here in table() for match in re.findall(r"`aws (--version|[a-z0-9]+ [a-z-]+)", hand)}
    assert found == COMMANDS
    assert all(here.strip() for _hand, here in table())


def test_what_is_named_there_exists() -> None:
    code = [word for _hand, here in table() for word in re.findall(r"`([^`]+)`", here)]
    assert len([word for word in code if re.match(r"\w+\.yml", word)]) > 20
    assert [name for word in code for name in unknown(word)] == []


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("ecs_gone.yml", ["ecs_gone.yml"]),
        ("ecs.yml --check --diff", []),
        ("ecs.yml -e ecs_gone=1 --tags gone", ["ecs_gone", "gone"]),
        ("-e ecs_force=true", []),
        ("-e ecs_gone=true", ["ecs_gone"]),
        ("ecs_gone", ["ecs_gone"]),
        ("health_check: {protocol: HTTP}", []),
        ("health: {protocol: HTTP}", ["health:"]),
        ("ecs_retirement", []),
        ("CLUSTER-SERVICE-gone", ["CLUSTER-SERVICE-gone"]),
    ],
)
def test_what_does_not_exist_is_found(code: str, names: list[str]) -> None:
    assert unknown(code) == names
