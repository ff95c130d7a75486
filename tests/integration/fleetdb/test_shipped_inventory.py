# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook with a copy of inventories/aws, its placeholders filled in as its README says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.integration.aws.asg import Group, Scaled
from tests.integration.endpoint import REGION
from tests.integration.fleetdb.fleets import Fleet
from tests.integration.fleetdb.machines import PROGRAM, elections_as_instances
from tests.integration.support import CHECKOUT, environment

# The inventory is a fleet's; services on ECS and Kubernetes have their own, and a compose file needs none.
OF_OTHERS = ("compose", "ecs", "kubernetes")
PLAYBOOKS = sorted(path for path in (CHECKOUT / "playbooks").glob("*.yml") if not path.name.startswith(OF_OTHERS))
# What Ansible and the roles say where a variable is out of sight.
UNKNOWN = ("is undefined", "undefined variable", "is not set", "missing required arguments", "must specify a region")


@dataclass(frozen=True)
class Copied:
    inventory: Path
    group: Group
    aws: Scaled
    fleet: Fleet

    def play(self, playbook: Path) -> str:
        """What it says in check mode. Its hosts are this machine."""
        limit = ["--limit", list(self.group.versions)[-1]] if "--limit" in playbook.read_text() else []
        command = [PROGRAM, "-i", self.inventory, playbook, "--check", "--flush-cache", *limit]
        here = ("ansible_connection=local", "ansible_become=false", f"ansible_python_interpreter={sys.executable}")
        for variable in (*here, "rollout_unlock_reason=test"):
            command += ["-e", variable]
        output = self.inventory.parent / "output"
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=self.inventory,
            env=environment(
                HOME=str(self.inventory),
                ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg"),
                ANSIBLE_NOCOLOR="1",
                AWS_ENDPOINT_URL=self.aws.endpoint.url,
                AWS_REGION=REGION,
                AWS_ACCESS_KEY_ID="AKIATEST",
                AWS_SECRET_ACCESS_KEY="secret",
            ),
            stdin=subprocess.DEVNULL,
            stdout=output.open("w"),
            stderr=subprocess.STDOUT,
        )
        # The gateways live for as long as that takes.
        while process.poll() is None:
            self.fleet.query("UPDATE ec2_heartbeat SET last_heartbeat = clock_timestamp()")
            time.sleep(0.5)
        return " ".join(output.read_text().split())


@pytest.fixture(scope="module")
def aws() -> Iterator[Scaled]:
    with elections_as_instances() as scaled:
        yield scaled


@pytest.fixture
def copied(aws: Scaled, fleet: Fleet, tmp_path: Path) -> Copied:
    group = aws.group(3)
    numbers = [int(name[2:]) for name in group.versions]
    fleet.populate(max(numbers), leader=numbers[0])
    for table in ("ec2_heartbeat", "ec2_launch"):
        fleet.query(f"DELETE FROM {table} WHERE instance_id <> ALL(%s)", list(group.versions))
    place = conninfo_to_dict(fleet.conninfo)
    (tmp_path / "password").write_text(str(place.get("password") or "none"))
    inventory = shutil.copytree(CHECKOUT / "inventories", tmp_path / "inventories") / "aws"
    places = {
        "[gateways]": f"[{group.name}]",
        "fleet_group: gateways": f"fleet_group: {group.name}",
        "host: database.internal": f"host: {place['host']}\n  port: {place['port']}\n  sslmode: disable",
        "\n  name: gateway\n": f"\n  name: {place['dbname']}\n",
        "\n  user: gateway\n": f"\n  user: {place['user']}\n",
        "/run/secrets/database": str(tmp_path / "password"),
    }
    files = [inventory / "aws_ec2.yml", *inventory.glob("group_vars/**/*.yml")]
    for old, new in places.items():
        [path] = [path for path in files if old in path.read_text() and not path.is_symlink()]
        path.write_text(path.read_text().replace(old, new))
    return Copied(inventory, group, aws, fleet)


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_each_playbook_finds_its_variables(playbook: Path, copied: Copied) -> None:
    said = copied.play(playbook)
    assert "PLAY RECAP" in said, said
    assert [words for words in UNKNOWN if words in said] == [], said


def test_replacement_and_maintenance_reach_the_group_and_the_database(copied: Copied) -> None:
    said = copied.play(CHECKOUT / "playbooks/replace_fleet.yml")
    assert "of 3 instances are to be replaced" in said, said
    said = copied.play(CHECKOUT / "playbooks/maintenance.yml")
    assert "Request the drain permit" in said, said
