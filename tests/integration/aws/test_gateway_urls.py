# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URLs of gateways on EC2: kept in one parameter, and read from it wherever a gateway is declared."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import warm
from tests.integration.aws.ecs_cutover_scene import ProbingAgent, Scene
from tests.integration.aws.ecs_declaration import policy_simulator
from tests.integration.aws.ecs_stage import stage
from tests.integration.aws.stage import SECRET, call
from tests.integration.endpoint import REGION, Endpoint
from tests.integration.support import CHECKOUT, environment

FIRST = {"USERS_SERVICE_URL": "http://public:3002", "ORDERS_SERVICE_URL": "http://public:5003"}
INSIDE = {"USERS_SERVICE_URL": "http://inside:3002"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def aws(served: Endpoint) -> Endpoint:
    return served.at_its_best()


@pytest.fixture
def name() -> str:
    return f"/shop-{next(_numbers)}/gateway-urls"


def run(aws: Endpoint, name: str, urls: dict[str, str], *, check: bool = False, **options: Any) -> dict[str, Any]:
    aws.faults.calls.clear()
    return call(aws, "gateway_urls", {"name": name, "urls": urls, **options}, check=check)


def writes(aws: Endpoint) -> list[str]:
    return [made for made in aws.faults.calls if made == "ssm:PutParameter"]


def stored(aws: Endpoint, name: str) -> Any:
    return json.loads(aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])


def test_urls_are_set_once_and_others_stay(aws: Endpoint, name: str) -> None:
    for urls, before, after in ((FIRST, {}, FIRST), (INSIDE, FIRST, {**FIRST, **INSIDE})):
        expected = run(aws, name, urls, check=True)
        assert (expected["changed"], writes(aws)) == (True, [])
        result = run(aws, name, urls)
        assert (result["changed"], len(writes(aws))) == (True, 1)
        assert result["diff"] == expected["diff"] == {"before": before, "after": after}
        assert stored(aws, name) == result["urls"] == expected["urls"] == after
        for check in (True, False):
            again = run(aws, name, urls, check=check)
            assert (again["changed"], writes(aws), again["urls"]) == (False, [], after)
            assert again["changed_at"] == result["changed_at"]


def test_one_that_exists_can_be_left_as_it_is(aws: Endpoint, name: str) -> None:
    assert run(aws, name, INSIDE, replace=False)["changed"]
    again = run(aws, name, FIRST, replace=False)
    assert (again["changed"], writes(aws), stored(aws, name)) == (False, [], INSIDE)


@pytest.mark.parametrize("text", ["no JSON", '["http://inside"]', '{"USERS_SERVICE_URL": 3}'])
def test_a_parameter_of_others_is_not_overwritten(aws: Endpoint, name: str, text: str) -> None:
    aws.client("ssm").put_parameter(Name=name, Value=text, Type="String")
    result = run(aws, name, INSIDE)
    assert result["failed"] and writes(aws) == []
    assert f"The parameter {name} is no JSON object of URLs" in result["msg"]
    assert aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == text


@pytest.mark.parametrize("action", ["GetParameter", "PutParameter"])
def test_a_call_that_is_denied_is_named(aws: Endpoint, name: str, action: str) -> None:
    aws.faults.denied[f"ssm:{action}"] = ""
    denied = run(aws, name, INSIDE)
    assert denied["failed"] and f"ssm:{action} on the parameter {name}" in denied["msg"]
    aws.faults.denied.clear()
    assert run(aws, name, INSIDE)["changed"]


def read(aws: Endpoint, name: str, folder: Path, **declared: Any) -> subprocess.CompletedProcess[str]:
    """What the declaration of the gateway has for two hosts, each in a process of its own, in two tasks."""
    tasks = [
        {"ansible.builtin.import_role": {"name": "evenkeel.fleet.gateway", "tasks_from": "variables"}},
        *[{"ansible.builtin.debug": {"msg": "{{ gateway_declaration.containers[0].env | to_json }}"}}] * 2,
    ]
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    variables = {
        "gateway_image": "gateway:1",
        "gateway_aws_region": REGION,
        "gateway_secret_arn": "",
        "gateway_db_secret_arn": "",
        "gateway_urls_parameter": name,
        "fleet_endpoint_url": aws.url,
        **declared,
    }
    aws.faults.calls.clear()
    return warm.run(
        ["-i", "a,b,", str(folder / "play.yml"), "-e", json.dumps(variables)],
        cwd=CHECKOUT,
        env=environment(AWS_ACCESS_KEY_ID="AKIATEST", AWS_SECRET_ACCESS_KEY=SECRET),
    )


def test_every_gateway_is_declared_with_them_and_one_run_reads_them_once(
    aws: Endpoint, name: str, tmp_path: Path
) -> None:
    run(aws, name, INSIDE)
    finished = read(aws, name, tmp_path, gateway_environment={**FIRST, "LOG_LEVEL": "info"})
    assert finished.returncode == 0, finished.stdout
    told = " ".join(finished.stdout.split())
    assert told.count('"USERS_SERVICE_URL": "http://inside:3002"') == 4, "they win over the declared ones"
    assert told.count('"ORDERS_SERVICE_URL": "http://public:5003"') == told.count('"LOG_LEVEL": "info"') == 4
    # Both hosts may begin at the same time.
    assert aws.faults.calls.count("ssm:GetParameter") in (1, 2)


def test_without_the_parameter_or_the_right_to_read_it_no_gateway_is_declared(
    aws: Endpoint, name: str, tmp_path: Path
) -> None:
    """An unknown URL is not taken for the old one."""
    finished = read(aws, name, tmp_path, gateway_environment=FIRST)
    assert finished.returncode != 0
    said = " ".join((finished.stdout + finished.stderr).split())
    assert f"The parameter {name} does not exist in {REGION}, and gateway_urls_parameter names it" in said
    assert "ecs.yml --tags load_balancer" in said
    run(aws, name, INSIDE)
    aws.faults.denied["ssm:GetParameter"] = ""
    denied = read(aws, name, tmp_path, gateway_environment=FIRST)
    assert denied.returncode != 0
    assert f"ssm:GetParameter on the parameter {name}" in " ".join((denied.stdout + denied.stderr).split())


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    agent = ProbingAgent()
    with stage(policy_simulator, agent=agent) as ecs:
        yield Scene(ecs, agent)


def test_ecs_yml_creates_it_and_a_cutover_says_what_it_needs(scene: Scene) -> None:
    name = "/shop/gateway-urls"
    fleet = {
        "ecs_services": scene.services[:2],
        "ecs_cutover_gateway": "",
        "ecs_cutover_upstreams": "users-nlb,orders-nlb",
        "gateway_urls_parameter": name,
    }
    made = scene.run("ecs", "--tags", "load_balancer", **fleet)
    assert made.code == 0, made.text
    assert "Create the parameter with the URLs of the gateways on EC2" in made.changed
    legacy = {
        "USERS_SERVICE_URL": "http://public.example.com:3002",
        "ORDERS_SERVICE_URL": "http://public.example.com:5003",
    }
    assert stored(scene.ecs.endpoint, name) == legacy
    run(scene.ecs.endpoint, name, INSIDE)
    again = scene.run("ecs", "--tags", "load_balancer", **fleet)
    assert (again.code, again.changed) == (0, []), again.text
    assert stored(scene.ecs.endpoint, name) == {**legacy, **INSIDE}
    refused = scene.cut_over(**{**fleet, "gateway_urls_parameter": ""})
    assert refused.code != 0
    assert "Nothing was changed." in refused.failures
    assert "gateway_urls_parameter is not set" in refused.failures
    assert "no host is in the group gateways: name the inventory of the fleet with -i" in refused.failures
