# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that stand as plain text in task definitions move to a store. No value is ever seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from testbed.services.aws.calls import Call
from tests.integration.aws.ecs_declaration import TRUST
from tests.integration.aws.ecs_stage import CLUSTER, NETWORK, Stage, stage
from tests.integration.aws.interruptions import Interruptions
from tests.integration.aws.stage import call, play
from tests.integration.endpoint import ACCOUNT, REGION

PASSWORD, DATABASE = "correct-horse-battery", "mongodb+srv://shop:hunter2secret@db.example.com/shop"
PARAMETERS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/shop"
interruptions = Interruptions()


def interrupted(call: Call, request: Request) -> Response | None:
    """The tasks write their logs whatever the controller may do."""
    return None if call.service == "logs" else interruptions.answer(call, request)


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage(first=interrupted) as made:
        made.endpoint.client("iam").create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps(TRUST))
        yield made


def serve(ecs: Stage, name: str, **variables: str) -> None:
    pairs = [{"name": key, "value": value} for key, value in variables.items()]
    definition = ecs.register(name, f"{name}:1", environment=pairs)
    ecs.ecs.create_service(
        cluster=CLUSTER, serviceName=name, taskDefinition=definition, desiredCount=1, launchType="FARGATE",
        networkConfiguration=NETWORK,
    )  # fmt: skip
    ecs.await_status(name, "SUCCESSFUL")
    ecs.fake.writes.clear()


def move(ecs: Stage, *services: str, check: bool = False, **more: Any) -> dict[str, Any]:
    wanted = {"cluster": CLUSTER, "services": list(services), "path": "shop", **more}
    told = call(ecs.endpoint, "ecs_secrets", wanted, check=check)
    for value in (PASSWORD, DATABASE, "hunter2secret"):
        assert value not in str(told)
    return told


def container(ecs: Stage, definition: str) -> dict[str, Any]:
    found = ecs.ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]
    return dict(found["containerDefinitions"][0])


def test_they_are_stored_referred_to_and_may_be_read(ecs: Stage) -> None:
    serve(ecs, "users", DATABASE_URL=DATABASE, DB_PASSWORD=PASSWORD, LOG_LEVEL="info", TOKEN_TTL="3600")
    assert move(ecs, "users", check=True)["changed"]
    assert ecs.writes == []
    ssm = ecs.endpoint.client("ssm")
    assert ssm.describe_parameters()["Parameters"] == []
    moved = move(ecs, "users")
    assert [one["value_from"] for one in moved["secrets"]] == [
        f"{PARAMETERS}/users/DATABASE_URL",
        f"{PARAMETERS}/users/DB_PASSWORD",
    ]
    stored = ssm.get_parameter(Name="/shop/users/DATABASE_URL", WithDecryption=True)["Parameter"]
    assert (stored["Value"], stored["Type"]) == (DATABASE, "SecureString")
    found = container(ecs, moved["task_definitions"]["users"])
    assert {one["name"] for one in found["environment"]} == {"LOG_LEVEL", "TOKEN_TTL"}
    assert {one["name"] for one in found["secrets"]} == {"DATABASE_URL", "DB_PASSWORD"}
    policy = ecs.endpoint.client("iam").get_role_policy(RoleName="execution", PolicyName="evenkeel-moved-secrets")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == [f"{PARAMETERS}/users/DATABASE_URL", f"{PARAMETERS}/users/DB_PASSWORD"]
    ecs.fake.writes.clear()
    again = move(ecs, "users")
    assert not again["changed"]
    assert again["task_definitions"] == moved["task_definitions"]
    assert ecs.writes == []


def test_the_policy_keeps_what_it_allowed_before(ecs: Stage) -> None:
    serve(ecs, "orders", API_KEY=PASSWORD)
    serve(ecs, "carts", API_KEY=PASSWORD)
    move(ecs, "orders")
    move(ecs, "carts")
    policy = ecs.endpoint.client("iam").get_role_policy(RoleName="execution", PolicyName="evenkeel-moved-secrets")
    allowed = policy["PolicyDocument"]["Statement"][0]["Resource"]
    assert {f"{PARAMETERS}/orders/API_KEY", f"{PARAMETERS}/carts/API_KEY"} <= set(allowed)


def test_secrets_manager(ecs: Stage) -> None:
    serve(ecs, "mails", SMTP_PASSWORD=PASSWORD, GREETING="hello", SHARED_TOKEN_NAME="x")
    moved = move(ecs, "mails", store="secretsmanager", move=["GREETING"])
    found = container(ecs, moved["task_definitions"]["mails"])
    assert {one["name"] for one in found["secrets"]} == {"SMTP_PASSWORD", "GREETING"}
    secrets = ecs.endpoint.client("secretsmanager")
    assert secrets.get_secret_value(SecretId="shop/mails/SMTP_PASSWORD")["SecretString"] == PASSWORD
    assert not move(ecs, "mails", store="secretsmanager", move=["GREETING"])["changed"]


def test_another_value_is_not_overwritten(ecs: Stage) -> None:
    serve(ecs, "stock", DB_PASSWORD=PASSWORD, API_TOKEN=PASSWORD)
    ecs.endpoint.client("ssm").put_parameter(Name="/shop/stock/DB_PASSWORD", Value="older", Type="SecureString")
    told = move(ecs, "stock")
    assert told["msg"].startswith(
        "Nothing was changed: /shop/stock/DB_PASSWORD has another value than the task definition."
    )
    assert ecs.writes == []
    names = [one["Name"] for one in ecs.endpoint.client("ssm").describe_parameters()["Parameters"]]
    assert "/shop/stock/API_TOKEN" not in names
    assert not move(ecs, "stock", keep=["DB_PASSWORD"])["failed"]


def test_killed_after_any_change_it_goes_on(ecs: Stage) -> None:
    serve(ecs, "bills", DB_PASSWORD=PASSWORD, API_TOKEN=PASSWORD)
    for moment in range(1, 12):
        with interruptions.after(moment):
            told = move(ecs, "bills")
        if not told["failed"]:
            break
    assert moment > 1
    assert len(ecs.ecs.list_task_definitions(familyPrefix="bills")["taskDefinitionArns"]) == 2
    assert not move(ecs, "bills")["changed"]


def test_each_missing_permission_is_named(ecs: Stage) -> None:
    serve(ecs, "chat", DB_PASSWORD=PASSWORD)
    with interruptions.each_denied_once() as denied:
        for store in ("ssm", "secretsmanager"):
            for _again in range(20):
                told = move(ecs, "chat", store=store)
                if not told["failed"]:
                    break
                assert denied[-1] in told["msg"]
    assert "iam:PutRolePolicy" in denied
    assert "secretsmanager:CreateSecret" in denied
    assert "ssm:PutParameter" in denied


def test_the_playbook_deploys_them_and_tells_what_to_declare(ecs: Stage) -> None:
    serve(ecs, "shop", DB_PASSWORD=PASSWORD)
    variables = {
        "fleet_region": REGION,
        "fleet_account": ACCOUNT,
        "ecs_cluster": CLUSTER,
        "ecs_service": ["shop"],
        "ecs_secrets_deploy": True,
    }
    played = play(ecs.endpoint, variables, "-vvv", playbook="playbooks/ecs_secrets.yml")
    assert played.code == 0, played.text
    assert PASSWORD not in played.text
    arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/production/shop/DB_PASSWORD"
    assert f"shop, container api, secrets: {{DB_PASSWORD: {arn}}}" in played.text
    [running] = ecs.runs("shop")
    assert [one["valueFrom"] for one in container(ecs, running)["secrets"]] == [arn]
    played = play(ecs.endpoint, variables, playbook="playbooks/ecs_secrets.yml")
    assert played.changed == []
    assert "No secret stands as plain text in what runs." in played.text
