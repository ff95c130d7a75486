# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""inventories/ecs: every variable reaches the declaration, the service takes it, the page has its default."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from evenkeel_permissions.settings import ApiSettings, WorkerSettings, load

from ansible_collections.evenkeel.fleet.tests.unit.trusted import trusted
from tests.checkout.support import CHECKOUT, read

INVENTORY = CHECKOUT / "inventories" / "ecs"
PAGE = CHECKOUT / "docs" / "reference" / "ecs_variables.md"
EXPORTED = read("inventories/ecs/group_vars/all/exported.yml")
PARAMETER = "arn:aws:ssm:eu-west-2:111111111111:parameter/permissions/"
# As an operator exports them: everything that has no default.
GIVEN = {
    "AWS_REGION": "eu-west-2",
    "ECR_REPOSITORY": "team/permissions",
    "ECS_CLUSTER": "staging",
    "ECS_SERVICE": "permissions-service",
    "ECS_SUBNET_IDS": "subnet-1, subnet-2",
    "ECS_SECURITY_GROUP_IDS": "sg-1",
    "EXECUTION_ROLE_ARN": "arn:aws:iam::111111111111:role/execution",
    "TASK_ROLE_ARN": "arn:aws:iam::111111111111:role/task",
    "EPR_DATABASE_URL": f"{PARAMETER}database",
    "EPR_API_TOKENS": f"{PARAMETER}tokens",
    "EPR_REDIS_URL": "https://cache.example.com",
    "EPR_REDIS_TOKEN": f"{PARAMETER}redis",
    "EPR_DOCUMENT_VAULT_TOPIC_ARN": "arn:aws:sns:eu-west-2:111111111111:documents",
    "EPR_AUDIT_SQS_URL": "https://sqs.eu-west-2.amazonaws.com/111111111111/audit",
    "IMAGE_TAG": "1.4.0",
}
# Each of the scripts' variables, with a value that is neither given nor a default.
CHANGED = {
    "AWS_REGION": "eu-west-1",
    "AWS_ACCOUNT_ID": "222222222222",
    "ECR_REPOSITORY": "other",
    "ECS_CLUSTER": "other",
    "ECS_SERVICE": "other",
    "ECS_SUBNET_IDS": "subnet-3",
    "ECS_SECURITY_GROUP_IDS": "sg-1,sg-2",
    "EXECUTION_ROLE_ARN": "arn:aws:iam::111111111111:role/other",
    "TASK_ROLE_ARN": "arn:aws:iam::111111111111:role/other",
    "TASK_FAMILY": "other",
    "CONTAINER_NAME": "other",
    "TASK_CPU": "1024",
    "TASK_MEMORY": "2048",
    "DESIRED_COUNT": "3",
    "IMAGE_TAG": "1.5.0",
    "SKIP_BUILD": "true",
    "SKIP_TESTS": "false",
    "CLOUDWATCH_LOG_GROUP": "/other",
    "CLOUDWATCH_STREAM_PREFIX": "other",
    "ECS_ENABLE_EXECUTE_COMMAND": "true",
    "ECS_ASSIGN_PUBLIC_IP": "true",
    "ECS_TARGET_GROUP_ARN": "arn:aws:elasticloadbalancing:eu-west-2:111111111111:targetgroup/api/0123456789abcdef",
    "EPR_DATABASE_URL": f"{PARAMETER}other",
    "EPR_API_TOKENS": f"{PARAMETER}other",
    "EPR_REDIS_URL": "https://other.example.com",
    "EPR_REDIS_TOKEN": f"{PARAMETER}other",
    "EPR_DOCUMENT_VAULT_TOPIC_ARN": "arn:aws:sns:eu-west-2:111111111111:other",
    "EPR_AUDIT_SQS_URL": "https://sqs.eu-west-2.amazonaws.com/111111111111/other",
    "EPR_ENVIRONMENT": "staging",
    "EPR_LOG_LEVEL": "DEBUG",
    "EPR_LOG_JSON": "false",
    "EPR_SQL_ECHO": "true",
    "EPR_REDIS_CACHE_PREFIX": "other",
    "EPR_REDIS_CACHE_TTL": "60",
    "EPR_AUDIT_SQS_MAX_MESSAGES": "10",
    "EPR_AUDIT_SQS_WAIT_TIME": "10",
    "EPR_AUDIT_SQS_VISIBILITY_TIMEOUT": "120",
}
# Those that the inventory does not need.
OPTIONAL = {"EPR_AUTH_TRUSTED_PEERS": "10.0.0.0/16", "EPR_AUDIT_POLLERS": "4"}
DECLARED = ("fleet_region", "fleet_account", "ecs_cluster", "ecs_build", "ecs_services")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*names(), *OPTIONAL, *ApiSettings.variables(), *WorkerSettings.variables()}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(INVENTORY)])
    manager = VariableManager(loader=loader, inventory=inventory)
    found: dict[str, Any] = manager.get_vars(host=inventory.get_host("localhost"))
    return found


def names() -> set[str]:
    """All that the inventory names."""
    listed = [*EXPORTED["exported_required"], *EXPORTED["exported_may_be_empty"], *EXPORTED["exported_defaults"]]
    return {name for entry in listed for name in entry.split("|")} | {"IMAGE_TAG"}


def declared(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        templar = Templar(DataLoader(), variables)
        return {name: templar.template(trusted(f"{{{{ {name} }}}}")) for name in DECLARED}


def container(found: dict[str, Any], name: str) -> dict[str, Any]:
    (service,) = found["ecs_services"]
    (chosen,) = [one for one in service["task"]["containerDefinitions"] if one["name"] == name]
    return dict(chosen)


def environment(found: dict[str, Any], name: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(found, name)["environment"]}


def secrets(found: dict[str, Any], name: str) -> dict[str, str]:
    return {one["name"]: one["valueFrom"] for one in container(found, name)["secrets"]}


def test_every_variable_reaches_the_declaration(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(CHANGED) == names() - set(OPTIONAL)
    found = declared(variables, monkeypatch, **{**CHANGED, **OPTIONAL})
    (service,) = found["ecs_services"]
    task, definition = service["task"], service["service"]
    network = definition["networkConfiguration"]["awsvpcConfiguration"]
    log = container(found, "audit-worker")["logConfiguration"]["options"]
    (balancer,) = definition["loadBalancers"]
    image = service["images"]["audit-worker"]
    assert {
        "AWS_REGION": log["awslogs-region"],
        "AWS_ACCOUNT_ID": image.partition(".")[0],
        "ECR_REPOSITORY": re.split("[/:]", image)[-2],
        "ECS_CLUSTER": found["ecs_cluster"],
        "ECS_SERVICE": service["name"],
        "ECS_SUBNET_IDS": ",".join(network["subnets"]),
        "ECS_SECURITY_GROUP_IDS": ",".join(network["securityGroups"]),
        "EXECUTION_ROLE_ARN": task["executionRoleArn"],
        "TASK_ROLE_ARN": task["taskRoleArn"],
        "TASK_FAMILY": task["family"],
        "CONTAINER_NAME": task["containerDefinitions"][0]["name"],
        "TASK_CPU": task["cpu"],
        "TASK_MEMORY": task["memory"],
        "DESIRED_COUNT": str(service["count"]),
        "IMAGE_TAG": image.rpartition(":")[2],
        "SKIP_BUILD": str(not found["ecs_build"]).lower(),
        "SKIP_TESTS": str(not service["build"]["tests"]).lower(),
        "CLOUDWATCH_LOG_GROUP": log["awslogs-group"],
        "CLOUDWATCH_STREAM_PREFIX": log["awslogs-stream-prefix"],
        "ECS_ENABLE_EXECUTE_COMMAND": str(definition["enableExecuteCommand"]).lower(),
        "ECS_ASSIGN_PUBLIC_IP": str(network["assignPublicIp"] == "ENABLED").lower(),
        "ECS_TARGET_GROUP_ARN": balancer["targetGroupArn"],
    } == {name: value for name, value in CHANGED.items() if not name.startswith("EPR_")}
    assert found["fleet_region"] == CHANGED["AWS_REGION"]
    assert (balancer["containerName"], service["migration"]["container"]) == ("other", "other")
    settings = {name: value for name, value in {**CHANGED, **OPTIONAL}.items() if name.startswith("EPR_")}
    assert environment(found, "other") | secrets(found, "other") == settings
    assert environment(found, "audit-worker") == environment(found, "other")


def test_the_smallest_declaration(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = declared(variables, monkeypatch, **GIVEN)
    (service,) = found["ecs_services"]
    task = service["task"]
    assert (found["ecs_cluster"], found["fleet_region"], found["fleet_account"]) == (
        "staging",
        "eu-west-2",
        "111111111111",
    )
    assert found["ecs_build"] is True
    # Before ansible-core 2.19, a template gives text.
    assert (service["name"], int(service["count"])) == ("permissions-service", 1)
    image = "111111111111.dkr.ecr.eu-west-2.amazonaws.com/team/permissions:1.4.0"
    assert service["images"] == {"permissions": image, "audit-worker": image}
    assert (task["family"], task["cpu"], task["memory"]) == ("permissions", "512", "1024")
    assert [(one["name"], one["essential"], one["command"]) for one in task["containerDefinitions"]] == [
        ("permissions", True, ["api"]),
        ("audit-worker", False, ["worker"]),
    ]
    network = service["service"]["networkConfiguration"]["awsvpcConfiguration"]
    assert network == {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
    assert "loadBalancers" not in service["service"]
    options = container(found, "audit-worker")["logConfiguration"]["options"]
    assert options["awslogs-group"] == "/ecs/permissions"
    assert secrets(found, "permissions").keys() == {"EPR_DATABASE_URL", "EPR_API_TOKENS", "EPR_REDIS_TOKEN"}
    assert secrets(found, "audit-worker").keys() == {"EPR_DATABASE_URL"}
    assert json.dumps(found), "plain values alone"


def test_an_empty_queue_leaves_the_worker_that_says_it_is_off(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = declared(variables, monkeypatch, **{**GIVEN, "EPR_AUDIT_SQS_URL": ""})
    assert environment(found, "audit-worker")["EPR_AUDIT_SQS_URL"] == ""


def test_without_a_tag_an_image_is_built_with_the_time_of_the_run(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: value for name, value in GIVEN.items() if name != "IMAGE_TAG"}
    image = container(declared(variables, monkeypatch, **given), "permissions")["image"]
    assert re.fullmatch(r"\d{14}", image.rpartition(":")[2])
    assert container(declared(variables, monkeypatch, **given), "permissions")["image"] == image, "once in a run"
    with pytest.raises(AnsibleError, match="not set: IMAGE_TAG"):
        declared(variables, monkeypatch, **given, SKIP_BUILD="true")


def test_one_error_names_all_that_is_missing(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleError) as caught:
        declared(variables, monkeypatch, AWS_REGION="eu-west-2", EPR_DATABASE_URL="postgresql://me:hunter2@host/db")
    for name in set(GIVEN) - {"AWS_REGION", "IMAGE_TAG"}:
        assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_service_takes_every_setting(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = declared(variables, monkeypatch, **{**GIVEN, **OPTIONAL})
    resolved = {
        "EPR_DATABASE_URL": "postgresql://host/permissions",
        "EPR_API_TOKENS": json.dumps([{"name": "a", "token": "t" * 24, "scopes": ["permissions:read"]}]),
        "EPR_REDIS_TOKEN": "token",
    }
    for kind, name in ((ApiSettings, "permissions"), (WorkerSettings, "audit-worker")):
        given = environment(found, name) | {secret: resolved[secret] for secret in secrets(found, name)}
        assert given.keys() <= {*ApiSettings.variables(), *WorkerSettings.variables()}
        with monkeypatch.context() as patch:
            for variable, value in given.items():
                patch.setenv(variable, value)
            load(kind)


def test_the_defaults_are_those_of_the_service() -> None:
    own = {
        variable: kind.model_fields[field].default
        for kind in (ApiSettings, WorkerSettings)
        for variable, field in kind.variables().items()
    }
    defaults = {name: value for name, value in EXPORTED["exported_defaults"].items() if name.startswith("EPR_")}
    assert len(defaults) >= 9
    assert {name: value.lower() for name, value in defaults.items()} == {
        name: str(own[name]).lower() for name in defaults
    }


def test_the_page_has_every_variable_with_its_default() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE))
    assert set(documented) == names() - {"EPR_AUTH_TRUSTED_PEERS"}
    plain = {name: value for name, value in EXPORTED["exported_defaults"].items() if value}
    assert {name: documented[name] for name in plain} == {name: f"`{value}`" for name, value in plain.items()}
