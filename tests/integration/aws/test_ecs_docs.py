# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook of docs/how-to/ecs.md, as it stands there, from nothing to a service that is deployed again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from testbed.services.aws.ecs.pretended import Behaviour
from tests.integration.aws.ecs_declaration import declaration, policy_simulator, push
from tests.integration.aws.ecs_stage import CLUSTER, stage
from tests.integration.aws.stage import play
from tests.integration.endpoint import ACCOUNT, REGION
from tests.integration.support import CHECKOUT

REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


def playbook() -> str:
    page = (CHECKOUT / "docs" / "how-to" / "ecs.md").read_text()
    (found,) = re.findall(
        r"^```yaml\n(- name: Deploy the permissions service\n.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    return str(found)


def test_the_playbook_of_the_page(tmp_path: Path) -> None:
    text = tmp_path / "deploy.yml"
    text.write_text(playbook())
    # The migration ends; the service's tasks run on.
    (tasks,) = [one["tasks"] for one in yaml.safe_load(playbook())]
    assert [one["name"] for one in tasks][-1] == "Deploy"
    with stage(policy_simulator) as ecs:
        made = declaration(ecs.endpoint)
        network = made["definition"]["networkConfiguration"]["awsvpcConfiguration"]
        variables: dict[str, Any] = {
            "registry": REGISTRY,
            "region": REGION,
            "execution_role": made["task"]["executionRoleArn"],
            "database_url": made["task"]["containerDefinitions"][0]["secrets"][0]["valueFrom"],
            "subnets": network["subnets"],
            "security_groups": network["securityGroups"],
            "target_group": made["definition"]["loadBalancers"][0]["targetGroupArn"],
        }
        push(ecs.endpoint, "permissions", "1.4.0", "amd64")
        ecs.agent.by_command["migrate"] = Behaviour(exits_after=0.2)
        first = play(ecs.endpoint, variables, playbook=str(text))
        assert first.failures == ""
        assert "Deploy" not in first.changed, "the service was created with it"
        assert "Migrate the database" in first.changed
        (running,) = ecs.runs("permissions")
        assert running.endswith(":1")

        ecs.fake.writes.clear()
        again = play(ecs.endpoint, variables, playbook=str(text))
        assert (again.failures, again.changed, ecs.writes) == ("", [], [])

        push(ecs.endpoint, "permissions", "1.5.0", "amd64")
        newer = {**variables, "image": f"{REGISTRY}/permissions:1.5.0"}
        would = play(ecs.endpoint, newer, "--check", playbook=str(text))
        assert (would.failures, ecs.writes) == ("", [])
        second = play(ecs.endpoint, newer, playbook=str(text))
        assert second.failures == ""
        assert second.changed == would.changed == ["Register the task definition", "Migrate the database", "Deploy"]
        assert {one.rpartition(":")[2] for one in ecs.runs("permissions")} == {"2"}
        assert ecs.ecs.describe_services(cluster=CLUSTER, services=["permissions"])["services"][0]["desiredCount"] == 2
