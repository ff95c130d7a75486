# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.argument_specs import CONTAINER
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.compose import (
    ComposeError,
    container_of,
    environment_file,
    expand,
    files_of,
)

SMALL = {"image": "app:1", "ports": ["80:3000"]}


def container(**service: Any) -> dict[str, Any]:
    return container_of({**SMALL, **service}, name="shop-app-1", environment={"A": "file", "B": "file"})


def problems(**service: Any) -> list[str]:
    with pytest.raises(ComposeError) as error:
        container(**service)
    return str(error.value).splitlines()


def test_everything_is_translated() -> None:
    found = container(
        environment={"B": "own", "FLAG": True, "NUMBER": 8, "UNSET": None},
        volumes=["/data:/data:ro", {"type": "tmpfs", "target": "/tmp"}],
        tmpfs=["/run"],
        deploy={"replicas": 2, "resources": {"limits": {"memory": "512M"}}},
        restart="always",
        stop_grace_period="1m10s",
        logging={"driver": "local", "options": {"max-size": "10m"}},
        labels=["team=web"],
        read_only=True,
        cap_drop=["ALL"],
        command=["serve"],
    )
    assert found == {
        "name": "shop-app-1",
        "image": "app:1",
        "ports": ["80:3000"],
        "env": {"A": "file", "B": "own", "FLAG": "true", "NUMBER": "8"},
        "volumes": ["/data:/data:ro"],
        "tmpfs": ["/run", "/tmp"],
        "memory": "512m",
        "restart_policy": "always",
        "stop_timeout": 70,
        "log_driver": "local",
        "log_options": {"max-size": "10m"},
        "labels": {"team": "web"},
        "read_only": True,
        "cap_drop": ["ALL"],
        "command": ["serve"],
    }
    assert ArgumentSpecValidator(CONTAINER).validate(found).error_messages == []


def test_what_compose_would_do_by_itself() -> None:
    assert container()["stop_timeout"] == 10, "Compose's default, not that of a declaration"
    assert container(container_name="edge")["name"] == "edge"
    assert container(environment=["A=x=y", "C="])["env"] == {"A": "x=y", "B": "file", "C": ""}


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        ({"image": None}, "image: not set; an image is not built here"),
        ({"build": "."}, "build: not supported here; remove it, or use docker compose"),
        ({"ports": []}, "ports: none is published"),
        ({"ports": [{"target": 3000, "published": 80}]}, "write it like 80:3000"),
        ({"ports": ["3000"]}, "ports: 3000: write it like 80:3000"),
        ({"command": "serve --now"}, "command: write it as a list"),
        ({"volumes": ["data"]}, "volumes: data: neither SOURCE:TARGET nor a tmpfs with its target"),
        ({"volumes": [{"type": "tmpfs", "target": "/x", "tmpfs": {"size": 1}}]}, "neither SOURCE:TARGET"),
        ({"deploy": {"resources": {"limits": {"cpus": "2"}}}}, "deploy.resources.limits.cpus: not supported here"),
        ({"stop_grace_period": "soon"}, "stop_grace_period: The duration 'soon'"),
    ],
)
def test_nothing_is_lost_silently(service: dict[str, Any], problem: str) -> None:
    [line] = problems(**service)
    assert problem in line


def test_all_problems_at_once() -> None:
    assert len(problems(build=".", image="", ports=["x"])) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${IMAGE}:${TAG:-1}", "app:1"),
        ("$IMAGE", "app"),
        ("${EMPTY-other}", ""),
        ("${EMPTY:-other}", "other"),
        ("${NONE-other}", "other"),
        ("$$IMAGE", "$IMAGE"),
        ("${IMAGE:?say which}", "app"),
    ],
)
def test_variables(text: str, value: str) -> None:
    assert expand({"a": [text, 1]}, {"IMAGE": "app", "EMPTY": ""}) == {"a": [value, 1]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NONE}", "NONE: not set"),
        ("${NONE:?say which}", "NONE: not set: say which"),
        ("${EMPTY:?say which}", "EMPTY: not set: say which"),
        ("5$", "not a variable like"),
        ("${A:+b}", "not a variable like"),
    ],
)
def test_variables_that_are_wrong(text: str, problem: str) -> None:
    with pytest.raises(ComposeError, match=problem):
        expand(text, {"EMPTY": ""})


def test_an_environment_file() -> None:
    assert environment_file("# of the app\n\nA=1\nB=x=y \nC=\n", "app.env") == {"A": "1", "B": "x=y", "C": ""}
    with pytest.raises(ComposeError) as error:
        environment_file('A="1"\nexport\n', "app.env")
    assert str(error.value).splitlines() == [
        "app.env: A: write it without quotes, which Swarm keeps and Compose removes",
        "app.env: line 2: not NAME=value",
    ]


def test_files() -> None:
    assert [files_of({}), files_of({"env_file": "a"}), files_of({"env_file": ["a", "b"]})] == [[], ["a"], ["a", "b"]]
