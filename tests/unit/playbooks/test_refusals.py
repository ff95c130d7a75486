# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No playbook succeeds without a host to work on, or starts with an invalid variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[3]
PLAYBOOKS = sorted((CHECKOUT / "playbooks").glob("*.yml"))
# What has to be set before a playbook looks at the rest.
SET = {
    "ansible_connection": "local",
    "ansible_become": False,
    "ansible_python_interpreter": sys.executable,
    "load_balancer_name": "gateways",
    "load_balancer_vpc_id": "vpc-1",
    "load_balancer_subnets": ["subnet-1"],
    "load_balancer_security_groups": ["sg-1"],
    "gateway_image": "registry.example/gateway:1",
    "gateway_aws_region": "eu-central-1",
    "gateway_secret_arn": "arn:app",
    "gateway_db_secret_arn": "arn:db",
    "fleet_replacement_group": "gateways",
    "maintenance_group": "gateways",
    "ecs_cluster": "production",
    "rollout_unlock_reason": "its runner is gone",
}
FLEET = {"gateways": {"hosts": {"gateway-a": None, "gateway-b": None}}, "others": {"hosts": {"bastion": None}}}


def played(playbook: Path, inventory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, playbook, *options],
        cwd=CHECKOUT,
        # ansible-test has a limit that matches no host end the run; by default it is a warning.
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000", "ANSIBLE_HOST_PATTERN_MISMATCH": "warning"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def written(folder: Path, content: Any) -> Path:
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump(content))
    return path


# The hosts of a group that an earlier play of the same run makes, or localhost if there is such a group.
OF_THE_RUN = re.compile(
    r"\{\{ groups\['ecs_cutover_\w+'\] \| default\(\[\]\) \}\}"
    r"|\{\{ \['localhost'\] if 'ecs_cutover_\w+' in groups else \[\] \}\}"
)


# Each run takes a second: one on hosts, one on localhost. That all others ask in the same way is seen below.
@pytest.mark.parametrize("name", ["rolling_update", "aws"])
def test_a_limit_that_leaves_no_host_is_refused_in_words(name: str, tmp_path: Path) -> None:
    finished = played(CHECKOUT / "playbooks" / f"{name}.yml", written(tmp_path, FLEET), "--limit", "bastion")
    assert finished.returncode not in (0, 2)
    assert "TASK" not in finished.stdout
    words = {
        "gateways": "--limit bastion leaves no host of the group gateways, which has gateway-a, gateway-b.",
        "localhost": "--limit bastion leaves out localhost, on which this playbook works. Run it without --limit.",
    }
    assert any(said in finished.stderr for said in words.values()), finished.stderr


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_play_asks_for_its_hosts(playbook: Path) -> None:
    first, *others = yaml.safe_load(playbook.read_text())
    asking = [f"{{{{ lookup('evenkeel.fleet.hosts_of', '{group}') }}}}" for group in ("gateways", "localhost")]
    assert first["hosts"] in asking
    for play in others:
        assert play["hosts"] in asking or OF_THE_RUN.fullmatch(play["hosts"])


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ({"gatewais": FLEET["gateways"]}, [], "has hosts in these groups: gatewais (2)."),
        ({"all": {"hosts": {}}}, ["--limit", "gateway-a"], "has no hosts. Name the inventory of the fleet with -i"),
    ],
)
def test_it_says_what_the_inventory_has(content: Any, options: list[str], words: str, tmp_path: Path) -> None:
    finished = played(CHECKOUT / "playbooks" / "site.yml", written(tmp_path, content), *options)
    assert finished.returncode not in (0, 2) and "TASK" not in finished.stdout
    assert words in finished.stderr


def test_looking_at_a_playbook_takes_no_host() -> None:
    finished = played(CHECKOUT / "playbooks" / "site.yml", Path("/dev/null"), "--syntax-check")
    assert finished.returncode == 0, finished.stderr


# Of each first task that checks: preflight's, a rollout's workflow's, and those of roles with tasks before it.
@pytest.mark.parametrize("name", ["site", "status", "maintenance", "aws", "replace_fleet", "ecs_deploy"])
def test_a_value_without_meaning_is_refused_by_name_before_anything_else(name: str, tmp_path: Path) -> None:
    playbook = CHECKOUT / "playbooks" / f"{name}.yml"
    hosts = {"gateway-a": {"instance_id": "i-1"}, "gateway-b": {"instance_id": "i-2", "gateway_pull_timeout": "long"}}
    inventory = written(tmp_path, {"all": {"vars": SET}, "gateways": {"hosts": hosts}})
    finished = played(playbook, inventory, "-e", "gateway_stop_timeout=soon", "-e", "gateway_read_only=y")
    said = " ".join(finished.stdout.split())
    assert finished.returncode == 2, said
    assert "gateway_stop_timeout is soon, which is not a whole number." in said
    assert "gateway_read_only is y, which is neither true nor false." in said
    if "hosts_of', 'gateways'" in playbook.read_text():
        assert "gateway-b: gateway_pull_timeout is long, which is not a whole number." in said.replace("''", "'")
    assert "changed: [" not in finished.stdout


BOOTSTRAP = yaml.safe_load((CHECKOUT / "roles/bootstrap/defaults/main.yml").read_text())["bootstrap_roles"]
# Of the others preflight checks them, with the host's other troubles.
ENTRIES = [
    CHECKOUT / "roles" / role.name / "tasks" / f"{entry}.yml"
    for role in sorted((CHECKOUT / "roles").iterdir())
    if role.name not in ("preflight", "bootstrap", *BOOTSTRAP)
    for entry in yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
]


def first_task(file: Path) -> dict[str, Any]:
    task: dict[str, Any] = yaml.safe_load(file.read_text())[0]
    imported = task.get("ansible.builtin.import_tasks")
    return first_task(file.parent / imported) if imported else task


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_every_entry_point_checks_the_variables_of_all_roles_first(entry: Path) -> None:
    task = first_task(entry)
    assert "evenkeel.fleet.check_variables" in task and task["run_once"] and "when" not in task


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_runs_documented_entry_points(playbook: Path) -> None:
    for play in yaml.safe_load(playbook.read_text()):
        for task in play["tasks"]:
            called = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
            if called:
                role = CHECKOUT / "roles" / called["name"].rpartition(".")[2]
                specified = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
                assert called.get("tasks_from", "main") in specified
