# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import container_swap, gate, port_conflicts
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble, Runner

ONE, TWO = "registry/gateway@sha256:1", "registry/gateway@sha256:2"


class App:
    """What answers on the gate's address: the version that is written on the image of whatever runs."""

    def __init__(self, engine: EngineDouble) -> None:
        self.engine = engine

    def get(self, *_: object) -> Response:
        found = self.engine.container("gateway")
        if not found or not found["State"]["Running"]:
            raise ConnectionRefusedError(111, "Connection refused")
        return Response(200, b'{"version": "%s"}' % found["Image"].removeprefix("sha256:").encode())


@pytest.fixture(autouse=True)
def here(docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "get", App(docker_engine).get)
    monkeypatch.setattr(port_conflicts, "listeners", lambda _port: [])
    monkeypatch.setattr(container_swap, "ENGINE_PATIENCE", 0.0)
    for tag, reference in (("one", ONE), ("two", TWO)):
        docker_engine.images[reference] = {"Id": f"sha256:{tag}"}


def run(host: Host, image: str = ONE, **options: Any) -> tuple[dict[str, Any], str]:
    spec = {"name": "gateway", "image": image, "gate": {"url": "http://x/health", "timeout": 1, "interval": 0.01}}
    return container_swap.swap(host, {**spec, **options.pop("container", {})}, **options)


def test_outcomes(target: Host, docker_engine: EngineDouble) -> None:
    first, problem = run(target, wanted_version="one")
    assert (first["outcome"], first["old"], problem) == ("swapped", None, "")
    assert first["new"] == first["serving"] == {"id": "id1", "image": ONE, "digest": "sha256:1", "version": "one"}
    second, _unused = run(target, TWO)
    assert (second["outcome"], second["old"]) == ("swapped", first["serving"])
    again, _unused = run(target, TWO, wanted_version="two")
    assert (again["outcome"], again["old"]) == ("unchanged", second["serving"])
    back, _unused = run(target, TWO, state="restored", wanted_image="sha256:1", wanted_version="one")
    assert (back["outcome"], back["old"], back["serving"]) == ("restored", second["serving"], first["serving"])
    assert docker_engine.state() == {"gateway": "running", "gateway-previous": "exited"}


def test_the_declared_one_is_restored_where_the_previous_one_will_not_do(
    target: Host, docker_engine: EngineDouble
) -> None:
    docker_engine.images["registry/gateway@sha256:3"] = {"Id": "sha256:three"}
    run(target)
    run(target, TWO)
    run(target, "registry/gateway@sha256:3")
    back, problem = run(target, ONE, state="restored", wanted_image="sha256:1")
    assert (problem, back["outcome"], back["serving"]["digest"]) == ("", "swapped", "sha256:1")
    assert back["old"]["digest"] == "sha256:3"
    again, _unused = run(target, ONE, state="restored", wanted_image="sha256:1")
    assert again["outcome"] == "unchanged"
    refused, problem = run(target, ONE, state="restored", wanted_image="sha256:2")
    assert "Roll that image out instead" in problem
    assert refused["outcome"] == "unchanged"


def test_another_version_than_the_wanted_one(target: Host) -> None:
    first, _unused = run(target)
    answer, problem = run(target, TWO, wanted_version="three")
    assert answer["outcome"] == "rolled_back"
    assert "says version two, not three" in problem
    assert answer["new"] == {"id": "id2", "image": TWO, "digest": "sha256:2", "version": "two"}
    assert answer["old"] == answer["serving"] == first["serving"]
    same, problem = run(target, wanted_version="three")
    assert same["outcome"] == "unchanged"
    assert "says version one, not three" in problem


def test_the_version_of_the_declaration_is_not_asked_of_what_comes_back(target: Host) -> None:
    run(target)
    declared = {"gate": {"url": "http://x/health", "version": "two"}}
    assert run(target, TWO, container=declared)[0]["outcome"] == "swapped"
    assert run(target, TWO, container=declared, state="restored")[0]["outcome"] == "restored"


def test_an_engine_that_is_gone_is_the_worst_outcome(target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker.unix_request", refused)
    answer, problem = run(target)
    assert (answer["outcome"], answer["serving"]) == ("failed", None)
    assert "No Docker engine answers" in problem


def test_nothing_comes_of_a_first_one_that_fails(target: Host) -> None:
    answer, problem = run(target, container={"command": ["fail"]})
    assert (answer["outcome"], answer["serving"], answer["exit_code"]) == ("failed", None, 3)
    assert "there was no earlier gateway" in problem


def test_what_was_put_right_before_a_failure_is_told(target: Host, docker_engine: EngineDouble, runner: Runner) -> None:
    run(target)
    entry = docker_engine.containers[0]
    entry["Name"] = "/gateway-replaced"
    entry["State"].update(Running=False, Status="exited")
    runner.answer("docker pull", code=1, stderr="manifest unknown")
    answer, _unused = run(target, "registry/gateway:none")
    assert answer["outcome"] == "rolled_back"
    assert answer["serving"]["id"] == entry["Id"]


def test_pulling_only(target: Host, docker_engine: EngineDouble, runner: Runner) -> None:
    run(target)
    image = docker_engine.images.pop(TWO)
    del image

    def pulls(*_: Any) -> Any:
        docker_engine.images[TWO] = {"Id": "sha256:two", "Architecture": "amd64"}
        return ("", None)

    runner.answer("docker manifest", code=1, stderr="unknown")
    before = docker_engine.state()
    real = runner.__call__

    def run_command(argv: Any, *rest: Any) -> Any:
        if list(argv[:2]) == ["docker", "pull"]:
            pulls()
        return real(argv, *rest)

    target._runner = run_command
    answer, problem = run(target, TWO, state="pulled")
    assert (answer["outcome"], problem) == ("pulled", "")
    assert run(target, TWO, state="pulled")[0]["outcome"] == "unchanged"
    assert docker_engine.state() == before
    assert len(runner.ran("docker pull")) == 1


def test_a_login_is_made_only_for_a_pull(target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(container_swap, "ensure_login", lambda _host, login: made.append(login))
    logins = [{"registry": "registry"}, {"registry": "elsewhere"}]
    run(target, logins=logins)
    assert made == []
    runner.answer("docker pull", code=1, stderr="denied")
    answer, problem = run(target, "registry/gateway:new", logins=logins)
    assert made == logins[:1]
    assert answer["outcome"] == "unchanged"
    assert "log in first" in problem


def test_check_mode_tells_what_would_be(target: Host, docker_engine: EngineDouble) -> None:
    run(target)
    docker_engine.calls.clear()
    checking = Host(check_mode=True)
    answer, problem = run(checking, TWO, wanted_version="two")
    assert (answer["outcome"], problem) == ("swapped", "")
    assert answer["new"] == {"id": None, "image": TWO, "digest": "sha256:2", "version": "two"}
    assert answer["serving"] == answer["old"]
    assert {call.split()[0] for call in docker_engine.calls} == {"GET"}
