# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import (
    container_gate,
    converge,
    forwarding,
    gate,
    networks,
    port_conflicts,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import (
    EngineDouble,
    Runner,
    unit_block,
)


@pytest.fixture(autouse=True)
def here(root: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_gate, "SETTLE", 0.0)
    monkeypatch.setattr(port_conflicts, "listeners", lambda _port: [])
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


GATEWAY = {"name": "gateway", "image": "gateway@sha256:1", "gate": {"url": "http://127.0.0.1/api/health"}}


def state_of_units(runner: Runner, **values: object) -> None:
    """Units that started after all that is on the disk was written."""
    runner.answers.clear()
    runner.answer("systemctl show", unit_block(InactiveExitTimestampMonotonic=10**15, **values))


@pytest.fixture
def settled(
    target: Host, root: Path, runner: Runner, docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """The declarations of a host on which nothing is left to do."""
    state_of_units(runner)
    monkeypatch.setattr(gate, "get", lambda *_: Response(200, b"{}"))
    docker_engine.images = {"gateway@sha256:1": {"Id": "sha256:one"}}
    declarations: list[dict[str, Any]] = [
        {
            "name": "app",
            "files": [{"path": str(root / "app.conf"), "content": "x"}],
            "units": [{"name": "app.service", "content": "[Unit]\n"}],
            "networks": [{"name": "app-net", "labels": {"team": "edge"}}],
            "containers": [GATEWAY],
        }
    ]
    converge.converge(target, declarations)
    docker_engine.calls.clear()
    return declarations


def test_a_glance_at_a_settled_host_tells_what_runs(
    settled: list[dict[str, Any]], runner: Runner, docker_engine: EngineDouble
) -> None:
    containers = converge.settled_containers(settled, runner=runner)
    assert containers is not None
    assert containers["gateway"]["status"] == "running"
    assert {call.split()[0] for call in docker_engine.calls} == {"GET"}


def test_a_glance_ends_at_the_first_difference_and_leaves_it(
    settled: list[dict[str, Any]], runner: Runner, root: Path, docker_engine: EngineDouble
) -> None:
    (root / "app.conf").write_text("y")
    assert converge.settled_containers(settled, runner=runner) is None
    assert (root / "app.conf").read_text() == "y"
    assert docker_engine.calls == []


def test_a_glance_does_not_settle_for_what_is_no_change(
    settled: list[dict[str, Any]], runner: Runner, docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_engine.images["gateway:v1"] = docker_engine.images["gateway@sha256:1"]
    tagged = {**settled[0], "containers": [{**GATEWAY, "image": "gateway:v1"}]}
    assert converge.settled_containers([tagged], runner=runner) is None, "a tag may have moved"

    docker_engine.containers[0]["network"] = docker_engine.networks["app-net"]["Id"]
    labelled = {**settled[0], "networks": [{"name": "app-net", "labels": {"team": "core"}}]}
    assert converge.settled_containers([labelled], runner=runner) is None, "there is a warning to give"

    state_of_units(runner, NeedDaemonReload="yes")
    assert converge.settled_containers(settled, runner=runner) is None, "systemd has old files"
    state_of_units(runner)
    assert converge.settled_containers(settled, runner=runner) is not None

    monkeypatch.setattr(gate, "get", lambda *_: Response(503, b"{}"))
    started = time.monotonic()
    assert converge.settled_containers(settled, runner=runner) is None, "the gateway is not healthy"
    assert time.monotonic() - started < 5, "waiting is for the call that can do something about it"


def test_a_glance_takes_an_error_for_a_difference(settled: list[dict[str, Any]], runner: Runner) -> None:
    runner.answers.clear()
    runner.answer("systemctl show", code=1)
    assert converge.settled_containers(settled, runner=runner) is None


def test_what_a_call_would_stop_at_is_foreseen(root: Path, runner: Runner, docker_engine: EngineDouble) -> None:
    (root / "etc").mkdir()
    (root / "etc/daemon.json").write_text('{"live-restore": true}')
    docker_engine.infos = [{"LiveRestoreEnabled": True, "DockerRootDir": "/var/lib/docker"}]
    docker_engine.add("gateway")
    moved = {"name": "docker", "engine": {"config": {"data-root": "/srv/docker"}}}
    published = {"name": "gateway", "containers": [{**GATEWAY, "ports": ["80:3000"]}]}
    (forwarding.SYSCTL / "ip_forward").write_text("0\n")
    data_root, not_forwarded = converge.refusals([moved, {"name": "imds"}, published], runner)
    assert "data-root" in data_root
    assert "net.ipv4.ip_forward=0" in not_forwarded
    switched_on = {"name": "docker", "engine": {"config": {}, "forwarding": True}}
    assert converge.refusals([switched_on, published], runner) == []
    runner.answers.clear()
    runner.answer("systemctl show", unit_block(LoadState="not-found", ActiveState="inactive", UnitFileState=""))
    assert converge.refusals([moved, published], runner) == []


def test_the_user_s_umask_is_not_the_services(target: Host, root: Path) -> None:
    before = os.umask(0o077)
    try:
        converge.converge(
            target,
            [
                {
                    "name": "role",
                    "directories": [{"path": str(root / "a/b/c"), "mode": "0755"}],
                    "files": [{"path": str(root / "d/e/file"), "content": "x"}],
                }
            ],
        )
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = {path.relative_to(root): path.stat().st_mode & 0o777 for path in root.glob("[ad]/**/") if path.is_dir()}
    assert set(modes.values()) == {0o755}
    assert len(modes) == 5
    assert (root / "d/e/file").stat().st_mode & 0o777 == 0o644
