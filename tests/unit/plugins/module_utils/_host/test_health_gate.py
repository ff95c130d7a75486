# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import gate
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.health_gate import pass_gate
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble

OPTIONS = {"url": "http://x/health", "successes": 2, "timeout": 1.0, "interval": 0.01, "request_timeout": 1.0}


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "get", lambda *_: Response(200, b'{"version": "v1", "instanceId": "i-1"}'))


def passing(**options: Any) -> tuple[dict[str, Any], str]:
    return pass_gate({**OPTIONS, **options})


def test_what_is_told() -> None:
    report, problem = passing(wanted_version="v1")
    assert problem == ""
    assert (report["answers"], report["good"], report["version"], report["instance"]) == (2, 2, "v1", "i-1")
    report, problem = passing(wanted_version="v2", timeout=0.1)
    assert "says version v1, not v2" in problem
    assert (report["good"], report["version"], report["latency"]) == (0, "v1", None)


def test_a_container_that_has_ended(docker_engine: EngineDouble) -> None:
    docker_engine.add("gateway", status="exited")["State"]["ExitCode"] = 7
    docker_engine.logs = b"SECRET_KEY=hunter2 is wrong"
    report, problem = passing(container="gateway", wanted_version="v2", timeout=30.0)
    assert "The container gateway isn't healthy. It ended with exit code 7." in problem
    assert report["log"] == ["SECRET_KEY=(hidden) is wrong"]
    assert report["log"][0] in problem
    assert report["seconds"] < 10


def test_a_container_that_is_paused(docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_engine.add("gateway")["State"].update(Paused=True, Status="paused")
    monkeypatch.setattr(gate, "get", lambda *_: Response(503, b""))
    report, problem = passing(container="gateway", timeout=30.0)
    assert "It is paused and does not answer. Resume it: docker unpause gateway" in problem
    assert report["seconds"] < 10


def test_no_such_container(docker_engine: EngineDouble) -> None:
    assert docker_engine.containers == []
    assert passing(container="gateway")[1] == "There is no container gateway on this host."


@pytest.mark.parametrize(
    ("option", "value"), [("url", "127.0.0.1/health"), ("about_url", "ftp://x"), ("successes", 0), ("timeout", -1)]
)
def test_options_that_make_no_sense(option: str, value: Any) -> None:
    assert passing(**{option: value})[1].startswith(option)
