# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared services with their defaults."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.filter.ecs_split_problems import ecs_split_problems
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declarations import declarations, one_off

LOG = {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/api"}}
API = {"name": "api", "logConfiguration": LOG}
WORKER = {"name": "worker", "essential": False, "logConfiguration": LOG}


def service(name: str = "api", **more: Any) -> dict[str, Any]:
    return {"name": name, "task": {"containerDefinitions": [WORKER, API]}, **more}


def test_what_is_not_declared_has_its_default() -> None:
    (one,) = declarations(
        [service(logs={"retention": 30}, migration={"command": ["migrate"]}, probe={"url": "http://x"})]
    )
    assert one["task"]["family"] == "api"
    assert (one["pin"], one["keep"], one["count"], one["scaling"], one["build"]) == ("digest", 10, None, None, None)
    assert one["logs"] == {"retention": "30", "groups": ["/ecs/api"]}
    assert one["migration"] == {"container": "api", "command": ["migrate"], "timeout": 600}
    assert one["probe"] == {"url": "http://x", "status": 200, "timeout": 60, "validate_certs": True}


def test_numbers_may_be_text() -> None:
    (one,) = declarations(
        [service(count="2", keep="3", scaling={"min": "1", "max": "4"}, probe={"url": "u", "timeout": "5"})]
    )
    assert (one["count"], one["keep"], one["scaling"]["max"], one["probe"]["timeout"]) == (2, 3, 4, 5)


def test_a_build_makes_the_one_image() -> None:
    image = {"api": "registry/api:1", "worker": "registry/api:1"}
    (one,) = declarations([service(images=image, build={"path": "."})])
    assert (one["build"]["image"], one["build"]["dockerfile"]) == ("registry/api:1", "Dockerfile")


def test_services_are_chosen_in_their_order() -> None:
    services = [service("a"), service("b"), service("c")]
    assert [one["name"] for one in declarations(services, ["c", "a"])] == ["a", "c"]


@pytest.mark.parametrize(
    ("services", "chosen", "words"),
    [
        ([], [], "ecs_services is empty"),
        ([service("")], [], "has no name"),
        ([service("a"), service("a")], [], "ecs_services has a twice"),
        ([service("a"), service("b")], ["c"], "ecs_service names c, and ecs_services has a, b"),
        ([service(migration={"command": "migrate"})], [], "migration.command of the service api is not a list"),
        ([service(migration={"command": ["x"], "container": "db"})], [], "has no container db. It has worker, api"),
        ([service(build={"path": "."})], [], "images has none. Set build.image"),
        ([service(images={"api": "a", "worker": "b"}, build={"path": "."})], [], "images has a, b. Set build.image"),
    ],
)
def test_what_can_not_be_meant_is_refused(services: list[dict[str, Any]], chosen: list[str], words: str) -> None:
    with pytest.raises(OperationError, match="Nothing was changed") as refused:
        declarations(services, chosen)
    assert words in str(refused.value)


def test_a_one_off_task_runs_in_the_network_of_its_service() -> None:
    (one,) = declarations([service(service={"launchType": "FARGATE", "loadBalancers": []})])
    overrides = {"containerOverrides": [{"name": "api", "command": ["check"]}]}
    assert one_off(one, ["check"]) == {"launchType": "FARGATE", "overrides": overrides}


def test_a_sidecar_leaves_only_when_the_end_is_declared() -> None:
    main, worker = service("main"), service("work")
    given = {"main": "main", "container": "worker", "worker": "work", "evidence": "stored"}
    (left,) = ecs_split_problems([main, worker], **given)
    assert "still has the container worker" in left
    main["task"] = {"containerDefinitions": [API]}
    assert ecs_split_problems([main, worker], **given) == []
    assert len(ecs_split_problems([], main="", container="", worker="", evidence="")) == 4
    assert "ecs_services has main" in ecs_split_problems([main], **given)[0]
