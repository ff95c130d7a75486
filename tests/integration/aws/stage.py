# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks as an operator runs them against AWS."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import InProcessModule, ModuleExit
from tests import warm
from tests.integration.endpoint import ACCOUNT, REGION, Endpoint
from tests.integration.support import CHECKOUT, environment

SECRET = "wJalrXUtnFEMI-planted"


@dataclass(frozen=True)
class Task:
    changed: bool
    diff: tuple[Any, ...]


@dataclass(frozen=True)
class Played:
    """How a run of a playbook went: its tasks that were not skipped, by their names, and what failed."""

    code: int
    tasks: dict[str, Task]
    failures: str
    text: str

    @property
    def changed(self) -> list[str]:
        return [name for name, task in self.tasks.items() if task.changed]


def command(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def play(
    endpoint: Endpoint,
    variables: Mapping[str, Any],
    *options: str,
    playbook: str = "playbooks/aws.yml",
    key: str = "AKIATEST",
    region: str = "",
    **more: str,
) -> Played:
    """`region` and `more` are variables of the environment; the region is the inventory's to tell."""
    settings = environment(
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
        ANSIBLE_DEPRECATION_WARNINGS="false",
        AWS_ENDPOINT_URL=endpoint.url,
        AWS_REGION=region,
        AWS_ACCESS_KEY_ID=key,
        AWS_SECRET_ACCESS_KEY=SECRET,
        **more,
    )
    given = json.dumps({"ansible_python_interpreter": str(warm.PYTHON), **variables})
    words = [playbook, "-i", "nobody,", "--diff", "-e", given, *options]
    finished = warm.run(words, cwd=CHECKOUT, env=settings, timeout=300)
    text = finished.stdout + finished.stderr
    assert SECRET not in text
    try:
        # Lines that a module shows while it runs come before.
        plays = json.loads(finished.stdout[f"\n{finished.stdout}".index("\n{\n") :])["plays"]
    except ValueError:
        raise AssertionError(text) from None
    results = [
        (task["task"]["name"].rpartition(" : ")[2], result)
        for played in plays
        for task in played["tasks"]
        for result in task["hosts"].values()
        if not result.get("skipped")
    ]
    tasks = {name: Task(bool(result.get("changed")), _diffs(result)) for name, result in results}
    failures = "\n".join(_words(result) for _name, result in results if result.get("failed"))
    return Played(finished.returncode, tasks, failures, text)


def network(endpoint: Endpoint) -> dict[str, Any]:
    """A VPC with what a load balancer stands in."""
    ec2 = endpoint.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="balancer", Description="HTTP", VpcId=vpc)["GroupId"]
    return {"vpc_id": vpc, "subnets": [made["Subnet"]["SubnetId"] for made in subnets], "security_groups": [group]}


def surroundings(endpoint: Endpoint, name: str, folder: Path) -> dict[str, Any]:
    """Variables of aws.yml for a fleet of that name, and what they name."""
    endpoint.client("iam").create_group(GroupName=f"{name}-operators")
    return {
        "load_balancer_name": name,
        "iam_name": name,
        "alarms_name": name,
        **{f"load_balancer_{key}": value for key, value in network(endpoint).items()},
        "fleet_account": ACCOUNT,
        "fleet_region": REGION,
        "gateway_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:gateway/app-AbCdEf",
        "gateway_db_secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:gateway/database-AbCdEf",
        "iam_apply": True,
        "iam_directory": str(folder / "iam"),
        "iam_operators": f"{name}-operators",
        "iam_operators_type": "group",
        "iam_ecr_repositories": ["gateway"],
        "iam_autoscaling_groups": [name],
        "alarms_autoscaling_group": name,
        "cloudwatch_agent_fleet": name,
        "alarms_subscriptions": [{"protocol": "https", "endpoint": "https://example.com/alarm"}],
    }


def call(
    endpoint: Endpoint, module: str, wanted: Mapping[str, Any], *, check: bool = False, **connection: str
) -> dict[str, Any]:
    """The result of one of our modules, as its action plugin runs it."""
    with_credentials = {
        "endpoint_url": endpoint.url,
        "region": REGION,
        "access_key": "AKIATEST",
        "secret_key": SECRET,
        **connection,
        **wanted,
    }
    code = importlib.import_module(f"ansible_collections.evenkeel.fleet.plugins.modules.{module}")
    try:
        code.main(lambda **specification: InProcessModule(module, with_credentials, specification, check))
    except ModuleExit as ended:
        assert SECRET not in str(ended.result)
        return {"failed": False, **ended.result}
    raise AssertionError(f"{module} ended without a result")


def _diffs(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of a task, and of the rounds of its loop; without what did not change."""
    found = [each.get("diff") for each in (result, *result.get("results", []))]
    flat = [diff for each in found for diff in (each if isinstance(each, list) else [each])]
    return tuple(diff for diff in flat if diff and diff.get("before") != diff.get("after"))


def _words(result: Mapping[str, Any]) -> str:
    return "\n".join(str(each.get("msg", "")) for each in (result, *result.get("results", [])) if each.get("failed"))
