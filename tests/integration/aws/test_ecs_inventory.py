# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inventories/ecs, as an operator uses it: exported variables, and a service with its worker for every ECS playbook."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from testbed.services.aws.ecs.pretended import Behaviour
from tests.integration.aws.ecs_declaration import declaration, policy_simulator, push
from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.aws.stage import Played, play
from tests.integration.endpoint import ACCOUNT, REGION
from tests.integration.support import CHECKOUT

SERVICE = "permissions-exported"
EXPORTED = CHECKOUT / "inventories" / "ecs" / "group_vars" / "all" / "exported.yml"
DEFAULTS = yaml.safe_load(EXPORTED.read_text())["exported_defaults"]
# Those of a fleet run with inventories/aws in a test of their own.
PLAYBOOKS = sorted((CHECKOUT / "playbooks").glob("ecs*.yml"))
# What an operator types behind the name of the playbook.
TYPED = {
    "ecs_run": ["ecs_run_command=migrate"],
    "ecs_scale": ["ecs_scale_count=1"],
    "ecs_split_worker": ["ecs_split_from=permissions-exported", "ecs_split_worker=worker"],
    "ecs_unlock": ["ecs_unlock_reason=test"],
}
# What this inventory and a service of one revision do not have.
MISSING = {
    "ecs_rollback": "no deployment of an earlier revision of permissions-exported has succeeded",
    "ecs_split_worker": "ecs_split_worker is worker, and ecs_services has permissions-exported",
    "ecs_cutover": "ecs_internal is not declared",
    "ecs_unlock": "ecs_database is not set, so there are no locks",
}
UNKNOWN = ("is undefined", "undefined variable", "missing required arguments", "must specify a region")


class Operator:
    """Exports variables, and runs playbooks with the inventory as it is shipped."""

    def __init__(self, ecs: Stage) -> None:
        self.ecs = ecs
        made = declaration(ecs.endpoint)
        network = made["definition"]["networkConfiguration"]["awsvpcConfiguration"]
        database, token = (one["valueFrom"] for one in made["task"]["containerDefinitions"][0]["secrets"])
        push(ecs.endpoint, "permissions", "1.4.0", "amd64")
        ecs.agent.by_command["migrate"] = Behaviour(exits_after=0.2)
        self.exported = {
            # Of the machine that runs the tests.
            **dict.fromkeys(DEFAULTS, ""),
            "ECR_REPOSITORY": "permissions",
            "ECS_CLUSTER": CLUSTER,
            "ECS_SERVICE": SERVICE,
            "ECS_SUBNET_IDS": ",".join(network["subnets"]),
            "ECS_SECURITY_GROUP_IDS": ",".join(network["securityGroups"]),
            "EXECUTION_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "TASK_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "TASK_FAMILY": SERVICE,
            "CLOUDWATCH_LOG_GROUP": "/ecs/permissions",
            "ECS_TARGET_GROUP_ARN": made["definition"]["loadBalancers"][0]["targetGroupArn"],
            "EPR_DATABASE_URL": database,
            "EPR_API_TOKENS": token,
            "EPR_REDIS_URL": "",
            "EPR_REDIS_TOKEN": "",
            "EPR_DOCUMENT_VAULT_TOPIC_ARN": "",
            "EPR_AUDIT_SQS_URL": "",
            "SKIP_BUILD": "true",
            "IMAGE_TAG": "1.4.0",
        }

    def run(self, playbook: str, *options: str, **changed: str) -> Played:
        self.ecs.fake.writes.clear()
        self.ecs.endpoint.faults.calls.clear()
        inventory = ("-i", "inventories/ecs", *options)
        environment = {**self.exported, **changed}
        return play(
            self.ecs.endpoint, {}, *inventory, playbook=f"playbooks/{playbook}.yml", region=REGION, **environment
        )


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    with stage(policy_simulator) as ecs:
        yield Operator(ecs)


@pytest.fixture(scope="module")
def deployed(operator: Operator) -> Operator:
    first = operator.run("ecs_deploy")
    assert first.failures == ""
    return operator


def test_exported_variables_are_a_service(operator: Operator) -> None:
    ecs = operator.ecs
    missing = operator.run("ecs_deploy", ECS_CLUSTER="", EPR_DATABASE_URL="postgresql://me:hunter2@host/db")
    assert "not set: ECS_CLUSTER." in missing.failures
    assert "in the task definition: EPR_DATABASE_URL." in missing.failures
    assert "hunter2" not in missing.text
    assert ecs.writes == []

    first = operator.run("ecs_deploy")
    assert first.failures == ""
    (running,) = ecs.runs(SERVICE)
    definition = ecs.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
    assert [(one["name"], one["essential"]) for one in definition["containerDefinitions"]] == [
        ("permissions", True),
        ("audit-worker", False),
    ]
    assert {"name": "EPR_AUDIT_SQS_URL", "value": ""} in definition["containerDefinitions"][1]["environment"]

    again = operator.run("ecs_deploy")
    assert (again.failures, again.changed, ecs.writes) == ("", [], [])

    would = operator.run("ecs_deploy", "--check", EPR_LOG_LEVEL="DEBUG")
    assert (would.failures, ecs.writes) == ("", [])
    assert "Register the task definition" in would.changed


@pytest.mark.parametrize("playbook", [path.stem for path in PLAYBOOKS])
def test_each_playbook_finds_its_variables(playbook: str, deployed: Operator) -> None:
    typed = [word for variable in TYPED.get(playbook, []) for word in ("-e", variable)]
    played = deployed.run(playbook, "--check", *typed)
    assert [words for words in UNKNOWN if words in played.text] == [], played.text
    assert MISSING.get(playbook, "") in played.failures
    assert (played.failures == "") is (playbook not in MISSING), played.failures
    assert deployed.ecs.writes == []


def test_the_worker_leaves_as_its_page_says(operator: Operator, tmp_path: Path) -> None:
    page = (CHECKOUT / "docs" / "reference" / "playbooks" / "ecs_split_worker.md").read_text()
    [declared] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    services = yaml.safe_load(declared)["ecs_services"]
    inventory = yaml.safe_load((EXPORTED.parent / "service.yml").read_text())
    [before] = inventory["ecs_services"]
    services[1] = {**before, **services[1]}
    end = tmp_path / "end.yml"
    end.write_text(yaml.safe_dump({"ecs_services": services}))
    [command] = re.findall(r"^ansible-playbook -i \S+ playbooks/ecs_split_worker\.yml(.*?)\n\n", page, re.M | re.DOTALL)
    typed = shlex.split(command.replace("\\\n", " "))
    # The worker of this test is not there to store anything.
    typed += ["-e", "ecs_split_evidence=starts", "-e", f"@{end}"]
    exported = {"ECS_SERVICE": "permissions", "TASK_FAMILY": "permissions"}

    assert operator.run("ecs_deploy", **exported).failures == ""
    moved = operator.run("ecs_split_worker", *typed, **exported)
    assert moved.failures == ""
    for name, containers in {"permissions": ["permissions"], "permissions-worker": ["audit-worker"]}.items():
        [running] = operator.ecs.runs(name)
        found = operator.ecs.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
        assert [one["name"] for one in found["containerDefinitions"]] == containers
    again = operator.run("ecs_split_worker", *typed, **exported)
    assert (again.failures, again.changed, operator.ecs.writes) == ("", [], [])


# That every playbook goes by this check is seen in tests/unit/roles/test_aws_access.py.
def test_another_place_is_refused_before_anything_else(operator: Operator, tmp_path: Path) -> None:
    calls = operator.ecs.endpoint.faults.calls
    foreign = operator.run("ecs_deploy", "-e", "fleet_account=210987654321")
    assert f"these credentials are of the account {ACCOUNT} (arn:aws:" in foreign.failures
    assert calls == ["sts:GetCallerIdentity"]
    other = operator.run("ecs_deploy", "-e", "fleet_region=us-west-2")
    assert f"AWS_REGION of the environment is {REGION}, and the region declared is us-west-2." in other.failures
    assert calls == []
    fleet = tmp_path / "aws_ec2.yml"
    fleet.write_text("{plugin: amazon.aws.aws_ec2, regions: [us-west-2]}")
    beside = operator.run("ecs_deploy", "-i", str(fleet))
    assert f"The inventory {fleet} lists instances of us-west-2, and the region is {REGION}." in beside.failures
    assert set(calls) == {"ec2:DescribeInstances"}
