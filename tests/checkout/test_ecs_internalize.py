# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide to a private network has a place for each AWS command of a runbook, and what it names there exists."""

from __future__ import annotations

import re

import yaml

from tests.checkout.support import CHECKOUT, paths

PAGE = CHECKOUT / "docs" / "how-to" / "ecs_internalize.md"
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


def known() -> set[str]:
    """The variables of all roles."""
    found: set[str] = set()
    for path in paths("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(entry.get("options", {}))
    return found


def test_each_command_has_its_place() -> None:
    found = {match for hand, _here in table() for match in re.findall(r"`aws (--version|[a-z0-9]+ [a-z-]+)", hand)}
    assert found == COMMANDS
    assert all(here.strip() for _hand, here in table())


def test_what_is_named_there_exists() -> None:
    code = [word for _hand, here in table() for word in re.findall(r"`([^`]+)`", here)]
    playbooks = {match for word in code for match in re.findall(r"^(\w+\.yml)", word)}
    assert len(playbooks) > 5
    assert {name for name in playbooks if not (CHECKOUT / "playbooks" / name).is_file()} == set()
    named = {match for word in code for match in re.findall(r"^((?:ecs|fleet|private_network)_\w+)(?!\.yml)\b", word)}
    variables = {name for name in named if f"{name}.yml" not in playbooks}
    assert len(variables) > 5
    assert {name for name in variables - known() if not name.startswith("fleet_")} == set()
