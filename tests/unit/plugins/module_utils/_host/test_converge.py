# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import containers, converge, networks
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import (
    EngineDouble,
    Runner,
    unit_block,
)


@pytest.fixture(autouse=True)
def here(root: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge, "LOCK", root / "lock")
    monkeypatch.setattr(containers, "SETTLE", 0.0)
    monkeypatch.setattr(containers, "listeners", lambda _port: [])
    monkeypatch.setattr(networks, "ROUTES", root / "route")
    runner.answer("systemctl show", unit_block())


def test_steps_follow_each_other(target: Host, root: Path, runner: Runner, docker_engine: EngineDouble) -> None:
    docker_engine.images = {"gateway@sha256:1": {"Id": "sha256:one"}}
    path = str(root / "etc/app.conf")
    declaration: dict[str, Any] = {
        "name": "app",
        "containers": [{"name": "gateway", "image": "gateway@sha256:1", "networks": ["app-net"]}],
        "networks": [{"name": "app-net"}],
        "commands": [{"argv": ["reload"], "when_changed": [path]}],
        "files": [{"path": path, "content": "x"}],
        "directories": [{"path": str(root / "etc")}],
    }
    found = converge.converge(target, [declaration])
    assert [change["resource"] for change in target.changes] == [
        str(root / "etc"),
        path,
        "command reload",
        "network app-net",
        "container gateway",
    ]
    assert found["gateway"]["status"] == "running"
    assert {"files", "containers", "total"} <= set(target.timings)
    again = Host(runner=runner)
    converge.converge(again, [declaration])
    assert again.changes == []


@pytest.mark.usefixtures("docker_engine")
def test_one_look_at_all_units(target: Host, runner: Runner) -> None:
    runner.answers.clear()
    runner.answer("systemctl show", "\n\n".join(unit_block() for _unit in range(3)))
    units: list[dict[str, Any]] = [
        {"name": "a", "units": [{"name": "a.service"}]},
        {"name": "b", "units": [{"name": "b.service"}]},
    ]
    converge.converge(target, [*units, {"name": "c", "networks": []}, {"name": "d", "networks": [{"name": "n"}]}])
    assert runner.ran("systemctl show")[0].endswith("a.service b.service docker.service")
    assert len(runner.ran("systemctl")) == 1


def test_a_failure_is_named_and_what_was_done_is_kept(target: Host, root: Path) -> None:
    declarations = [
        {"name": "first", "files": [{"path": str(root / "a"), "content": "x"}]},
        {"name": "second", "files": [{"path": str(root), "content": "x"}]},
    ]
    with pytest.raises(HostError) as caught:
        converge.converge(target, declarations)
    assert caught.value.declaration == "second"
    assert caught.value.resource == f"files {root}"
    assert [change["declaration"] for change in target.changes] == ["first"]


def test_imds_lets_a_network_through_that_comes_later(target: Host, root: Path, docker_engine: EngineDouble) -> None:
    declarations: list[dict[str, Any]] = [
        {"name": "imds", "imds": {"mode": "restrict", "users": ["root"], "networks": ["app-net"]}},
        {"name": "app_network", "networks": [{"name": "app-net"}]},
    ]
    converge.converge(target, declarations)
    bridge = "br-" + docker_engine.networks["app-net"]["Id"][:12]
    assert bridge in (root / "etc/imds.nft").read_text()
    assert target.warnings == []


def test_a_second_call_waits_for_the_first(target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge, "LOCK_WAIT", 0.2)
    inside, done = threading.Event(), threading.Event()

    def first() -> None:
        with converge.one_at_a_time(target):
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert inside.wait(5)
    with pytest.raises(HostError, match="Another call has been converging this host"), converge.one_at_a_time(target):
        pass
    done.set()
    thread.join(5)
    started = time.monotonic()
    with converge.one_at_a_time(target):
        assert time.monotonic() - started < 5


def test_check_mode_takes_no_lock(checked: Host) -> None:
    with converge.one_at_a_time(checked):
        assert not converge.LOCK.exists()
