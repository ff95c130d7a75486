# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inventories/ecs, as an operator uses it: exported variables, and a service with its worker that is deployed."""

from __future__ import annotations

import yaml

from testbed.services.aws.ecs.pretended import Behaviour
from tests.integration.aws.ecs_declaration import declaration, policy_simulator, push
from tests.integration.aws.ecs_stage import CLUSTER, stage
from tests.integration.aws.stage import Played, play
from tests.integration.endpoint import ACCOUNT, REGION
from tests.integration.support import CHECKOUT

SERVICE = "permissions-exported"
EXPORTED = CHECKOUT / "inventories" / "ecs" / "group_vars" / "all" / "exported.yml"
DEFAULTS = yaml.safe_load(EXPORTED.read_text())["exported_defaults"]


def test_exported_variables_are_a_service() -> None:
    with stage(policy_simulator) as ecs:
        made = declaration(ecs.endpoint)
        network = made["definition"]["networkConfiguration"]["awsvpcConfiguration"]
        database, token = (one["valueFrom"] for one in made["task"]["containerDefinitions"][0]["secrets"])
        push(ecs.endpoint, "permissions", "1.4.0", "amd64")
        ecs.agent.by_command["migrate"] = Behaviour(exits_after=0.2)
        exported = {
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

        def deploy(*options: str, **changed: str) -> Played:
            inventory = ("-i", "inventories/ecs", *options)
            environment = {**exported, **changed}
            return play(ecs.endpoint, {}, *inventory, playbook="playbooks/ecs_deploy.yml", region=REGION, **environment)

        ecs.fake.writes.clear()
        missing = deploy(ECS_CLUSTER="", EPR_DATABASE_URL="postgresql://me:hunter2@host/db")
        assert "not set: ECS_CLUSTER." in missing.failures
        assert "in the task definition: EPR_DATABASE_URL." in missing.failures
        assert "hunter2" not in missing.text
        assert ecs.writes == []

        first = deploy()
        assert first.failures == ""
        (running,) = ecs.runs(SERVICE)
        definition = ecs.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
        assert [(one["name"], one["essential"]) for one in definition["containerDefinitions"]] == [
            ("permissions", True),
            ("audit-worker", False),
        ]
        assert {"name": "EPR_AUDIT_SQS_URL", "value": ""} in definition["containerDefinitions"][1]["environment"]

        ecs.fake.writes.clear()
        again = deploy()
        assert (again.failures, again.changed, ecs.writes) == ("", [], [])

        would = deploy("--check", EPR_LOG_LEVEL="DEBUG")
        assert (would.failures, ecs.writes) == ("", [])
        assert "Register the task definition" in would.changed
