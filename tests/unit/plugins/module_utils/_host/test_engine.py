# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib
import json
import os
import time
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import engine, forwarding
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.engine import ensure_engine
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import Units
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import (
    EngineDouble,
    Runner,
    unit_block,
)

LOGS = {"log-opts": {"max-size": "10m"}}
# What an engine with live-restore says of itself.
INFO = {"LiveRestoreEnabled": True, "DockerRootDir": "/var/lib/docker", "Driver": "overlay2"}


@pytest.fixture(autouse=True)
def running_engine(runner: Runner) -> None:
    runner.answer("dockerd --validate", code=125, stderr="unknown flag: --validate")
    since = int((time.monotonic() - 1) * 1e6)
    runner.answer("systemctl show", unit_block(InactiveExitTimestampMonotonic=since))
    engine.CONFIG.parent.mkdir()


def written(config: dict[str, Any]) -> None:
    engine.CONFIG.write_text(json.dumps(config))
    # As old as the engine's last start.
    old = time.time() - 3600
    os.utime(engine.CONFIG, (old, old))


def ensure(host: Host, **spec: Any) -> None:
    units = Units(host)
    ensure_engine(host, units, Docker(host, units), spec)


def verbs(runner: Runner) -> list[str]:
    return [line.split()[1] for line in runner.ran("systemctl") if "show" not in line]


def difference(host: Host) -> str:
    last = next(entry for entry in reversed(host.diff) if "before_header" in entry and "json" in entry["before_header"])
    return "\n".join(difflib.unified_diff(last["before"].splitlines(), last["after"].splitlines()))


def config() -> dict[str, Any]:
    return dict(json.loads(engine.CONFIG.read_text()))


@pytest.mark.usefixtures("docker_engine")
def test_foreign_keys_stay_and_it_restarts(target: Host, runner: Runner) -> None:
    written({"dns": ["10.0.0.2"]})
    ensure(target, config=LOGS)
    assert config() == {"dns": ["10.0.0.2"], **LOGS}
    assert verbs(runner) == ["restart"]
    assert [change["action"] for change in target.changes] == ["update", "restart"]
    ensure(target, config=LOGS)
    assert len(target.changes) == 2


def test_what_can_be_reloaded_is(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    written({})
    docker_engine.add("gateway")
    ensure(target, config={"debug": True})
    assert verbs(runner) == ["reload"]


def test_without_live_restore_a_restart_under_containers_is_refused(
    target: Host, runner: Runner, docker_engine: EngineDouble
) -> None:
    written({})
    docker_engine.add("gateway")
    docker_engine.add("gateway-previous", status="exited")
    with pytest.raises(HostError, match=r"needs a restart for log-opts\. .* would stop gateway: nothing was changed"):
        ensure(target, config=LOGS)
    assert config() == {}
    assert verbs(runner) == []


def test_live_restore_is_switched_on_first(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    written({})
    docker_engine.add("gateway")
    docker_engine.infos = [{"LiveRestoreEnabled": False}, {"LiveRestoreEnabled": True}]
    ensure(target, config={**LOGS, "live-restore": True})
    assert verbs(runner) == ["reload", "restart"]
    assert target.warnings == [
        "role: the Docker engine restarts for its new configuration; live-restore keeps gateway running"
    ]


def test_an_engine_that_loses_live_restore_is_refused_too(target: Host, docker_engine: EngineDouble) -> None:
    written({"live-restore": True})
    docker_engine.infos = [{"LiveRestoreEnabled": True}]
    docker_engine.add("gateway")
    with pytest.raises(HostError, match="needs a restart for live-restore"):
        ensure(target, config={"live-restore": None})
    assert config() == {"live-restore": True}


def test_live_restore_that_does_not_take_puts_the_file_back(
    target: Host, runner: Runner, docker_engine: EngineDouble
) -> None:
    written({"a": 1})
    docker_engine.add("gateway")
    with pytest.raises(HostError, match="didn't apply live-restore"):
        ensure(target, config={**LOGS, "live-restore": True})
    assert config() == {"a": 1}
    assert verbs(runner) == ["reload", "reload"]
    assert target.changes == []


def test_an_allowed_restart_starts_what_ran(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    written({})
    docker_engine.add("gateway")
    ensure(target, config=LOGS, restart_running=True)
    assert verbs(runner) == ["restart"]
    assert "POST /containers/gateway/start" in docker_engine.calls
    assert "and with it gateway" in target.warnings[0]


@pytest.mark.usefixtures("docker_engine")
def test_a_refused_configuration_is_put_back(target: Host, runner: Runner) -> None:
    written({"a": 1})
    runner.answer("systemctl restart", code=1, stderr="Job failed")
    runner.answer("systemctl restart", "")
    runner.answer("journalctl", "level=info msg=x\nfailed to start daemon: driver not supported\n")
    with pytest.raises(
        HostError, match=r"doesn't restart with the new .*The old file was restored; the engine runs"
    ) as e:
        ensure(target, config={"storage-driver": "nonsense"})
    assert "driver not supported" in e.value.message
    assert config() == {"a": 1}
    assert verbs(runner) == ["restart", "reset-failed", "restart"]
    assert target.changes == []


@pytest.mark.usefixtures("docker_engine")
def test_what_a_newer_engine_refuses_before_is_not_written(
    target: Host,
    runner: Runner,
) -> None:
    written({"a": 1})
    runner.answers.clear()
    runner.answer("systemctl show", unit_block())
    runner.answer("dockerd --validate", code=1, stderr="the following directives don't match: nonsense")
    with pytest.raises(HostError, match=r"dockerd refuses the new .*; the old one was kept"):
        ensure(target, config={"nonsense": True})
    assert config() == {"a": 1}
    assert verbs(runner) == []


def test_malformed_is_located(target: Host) -> None:
    engine.CONFIG.write_text('{\n "a": 1,\n "b" 2\n}')
    with pytest.raises(HostError, match=r"daemon\.json is not valid JSON, line 3 column 6"):
        ensure(target, config=LOGS)


@pytest.mark.usefixtures("docker_engine")
def test_a_file_that_was_never_applied_is(target: Host, runner: Runner) -> None:
    engine.CONFIG.write_text(json.dumps(LOGS))
    ensure(target, config=LOGS)
    assert verbs(runner) == ["restart"]
    ensure(target, config=LOGS)
    assert verbs(runner) == ["restart"]


def test_check_mode_on_a_bare_host(checked: Host, runner: Runner) -> None:
    runner.answers.clear()
    runner.answer("systemctl show", unit_block(LoadState="not-found", ActiveState="inactive", UnitFileState=""))
    with pytest.raises(HostError, match="Docker isn't installed here"):
        ensure(checked, config=LOGS)
    checked.packages_pending = True
    ensure(checked, config=LOGS)
    assert [change["action"] for change in checked.changes] == ["create", "enable", "start"]
    assert not engine.CONFIG.exists()


PLACES = [
    {"data-root": "/srv/docker"},
    {"graph": "/srv/docker"},
    {"storage-driver": "btrfs"},
    {"storage-opts": ["zfs.fsname=tank/docker"]},
    {"exec-root": "/srv/run"},
    {"userns-remap": "default"},
    {"containerd": "/run/other.sock"},
    {"containerd-namespace": "gateways"},
    {"containerd-plugins-namespace": "plugins"},
    {"features": {"containerd-snapshotter": True}},
]


@pytest.mark.parametrize("moved", PLACES, ids=lambda moved: next(iter(moved)))
@pytest.mark.parametrize("check_mode", [False, True])
def test_no_engine_leaves_its_containers_behind(
    target: Host, runner: Runner, docker_engine: EngineDouble, moved: dict[str, Any], check_mode: bool
) -> None:
    written({"live-restore": True})
    docker_engine.infos = [INFO]
    docker_engine.add("gateway")
    target.check_mode = check_mode
    with pytest.raises(HostError) as refused:
        ensure(target, config={**LOGS, **moved}, restart_running=True)
    assert f"{next(iter(moved))}" in refused.value.message
    assert "would not find gateway again" in refused.value.message
    assert "docker stop gateway" in refused.value.message
    assert config() == {"live-restore": True}
    assert verbs(runner) == []
    assert target.changes == []
    # Drained and stopped, nothing is lost.
    docker_engine.containers.clear()
    ensure(target, config={**LOGS, **moved})
    assert verbs(runner) == ([] if check_mode else ["restart"])


def test_a_place_that_is_what_it_was_is_no_move(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    written({"live-restore": True})
    docker_engine.infos = [INFO]
    docker_engine.add("gateway")
    same = {"data-root": "/var/lib/docker/", "storage-driver": "overlay2", "exec-root": "/var/run/docker"}
    ensure(target, config={**same, "storage-opts": ["overlay2.size=10G"]})
    assert verbs(runner) == ["restart"]


def test_a_place_written_by_hand_is_not_taken_over_either(
    target: Host, runner: Runner, docker_engine: EngineDouble
) -> None:
    engine.CONFIG.write_text(json.dumps({"live-restore": True, "exec-root": "/srv/run"}))
    docker_engine.infos = [INFO]
    docker_engine.add("gateway")
    with pytest.raises(HostError, match="exec-root"):
        ensure(target, config={"live-restore": True})
    assert verbs(runner) == []


@pytest.mark.usefixtures("docker_engine")
def test_a_stopped_engine_with_containers_that_run_on(
    target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    written({"live-restore": True})
    runner.answers.clear()
    runner.answer("systemctl show", unit_block(ActiveState="inactive"))
    monkeypatch.setattr(engine, "outlived", lambda: True)
    with pytest.raises(HostError, match="systemctl start docker"):
        ensure(target, config={"data-root": "/srv/docker"})
    assert config() == {"live-restore": True}


def test_a_network_that_waits_for_an_empty_engine_is_said(
    target: Host, runner: Runner, docker_engine: EngineDouble
) -> None:
    written({"live-restore": True})
    docker_engine.infos = [INFO]
    docker_engine.add("gateway")
    ensure(target, config={"bip": "172.29.0.1/24"})
    assert verbs(runner) == ["restart"]
    assert any("bip" in warning and "no container" in warning for warning in target.warnings)


@pytest.mark.usefixtures("docker_engine")
def test_what_is_no_longer_declared_is_taken_out(target: Host, runner: Runner) -> None:
    written({"dns": ["10.0.0.2"], "log-opts": {"labels": "team"}, "debug": True})
    ensure(target, config={**LOGS, "debug": True, "mtu": 1400, "features": {"buildkit": True}})
    assert config()["mtu"] == 1400
    target.check_mode = True
    ensure(target, config={"debug": True})
    assert '-  "mtu": 1400' in difference(target)
    assert config()["mtu"] == 1400
    target.check_mode = False
    ensure(target, config={"debug": True})
    # Of others: dns and the label, and debug, which was there before it was declared.
    assert config() == {"dns": ["10.0.0.2"], "log-opts": {"labels": "team"}, "debug": True}
    done = len(target.changes)
    ensure(target, config={"debug": True})
    ensure(target, config={})
    assert config()["debug"] is True
    assert len(target.changes) == done
    assert verbs(runner) == ["restart", "restart"]


@pytest.mark.usefixtures("docker_engine")
def test_what_somebody_else_changed_since_stays(target: Host) -> None:
    written({})
    ensure(target, config={"mtu": 1400, "debug": True})
    written({"mtu": 9001, "debug": True})
    ensure(target, config={})
    assert config() == {"mtu": 9001}


@pytest.mark.usefixtures("docker_engine")
def test_roles_do_not_take_out_each_others(target: Host) -> None:
    written({})
    ensure(target, config={"mtu": 1400})
    target.declaration = "another"
    ensure(target, config={"debug": True})
    assert config() == {"mtu": 1400, "debug": True}


@pytest.mark.usefixtures("docker_engine")
def test_a_refused_configuration_is_not_remembered(target: Host, runner: Runner) -> None:
    written({"debug": True})
    runner.answer("systemctl restart", code=1, stderr="Job failed")
    runner.answer("systemctl restart", "")
    with pytest.raises(HostError, match="doesn't restart"):
        ensure(target, config={"mtu": 1})
    written({"debug": True, "mtu": 1})
    ensure(target, config={})
    assert config() == {"debug": True, "mtu": 1}


def test_forwarding_is_switched_on_where_it_is_declared(target: Host, docker_engine: EngineDouble) -> None:
    written({})
    (forwarding.SYSCTL / "ip_forward").write_text("0\n")
    ensure(target, config={})
    ensure(target, config={"ip-forward": False}, forwarding=True)
    assert not forwarding.FILE.exists()
    docker_engine.calls.clear()
    ensure(target, config={}, forwarding=True)
    assert forwarding.FILE.exists()
    assert (forwarding.SYSCTL / "ip_forward").read_text() == "1\n"
    done = len(target.changes)
    ensure(target, config={}, forwarding=True)
    assert len(target.changes) == done
