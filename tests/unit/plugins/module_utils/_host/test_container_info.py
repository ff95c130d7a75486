# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import gate
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_info import container_info
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble

OPTIONS = {"name": "gateway", "url": "http://x/health", "about_url": "http://x/about", "request_timeout": 1.0}


def answering(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    def get(url: str, *_: Any) -> Response:
        answer = answers[url.rpartition("/")[2]]
        if isinstance(answer, Exception):
            raise answer
        return Response(*answer)

    monkeypatch.setattr(gate, "get", get)


def test_a_healthy_one_and_what_it_replaced(docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, health=(200, b"ok"), about=(200, b'{"version": "2"}'))
    docker_engine.add("gateway", image="sha256:new", Image="r/gateway@sha256:2")
    docker_engine.add("gateway-previous", image="sha256:old", status="exited", Image="r/gateway@sha256:1")
    found = container_info(OPTIONS)
    assert (found["container"]["digest"], found["container"]["status"]) == ("sha256:2", "running")
    assert (found["container"]["exit_code"], found["previous"]["exit_code"]) == (None, 0)
    assert found["previous"]["digest"] == "sha256:1"
    assert (found["health"]["healthy"], found["health"]["problem"]) == (True, "")
    assert (found["about"], found["engine_error"]) == ({"version": "2"}, None)


def test_nothing_there_and_nobody_answers(docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    answering(monkeypatch, health=(503, b"draining"), about=refused)
    found = container_info(OPTIONS)
    assert docker_engine.containers == [] and found["container"] is None and found["previous"] is None
    assert not found["health"]["healthy"]
    assert "answered 503: draining" in found["health"]["problem"]
    assert "Connection refused" in found["about"]["error"]


def test_an_engine_that_does_not_answer_is_told(docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, health=(200, b"ok"))
    docker_engine.refuse["GET /containers/.*"] = "the daemon is confused"
    found = container_info({"name": "gateway", "url": "http://x/health", "request_timeout": 1.0})
    assert "the daemon is confused" in found["engine_error"]
    assert found["health"]["healthy"] and found["about"] is None
