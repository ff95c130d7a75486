# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import (
    docker,
    engine,
    files,
    forwarding,
    host,
    host_lock,
    imds,
    packages,
    published_ports,
    registry,
    stamps,
    stand_in,
    units,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble, Runner


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all files that the code knows by an absolute path, owned by the user that runs the tests."""
    release = tmp_path / "os-release"
    release.write_text("ID=debian\n")
    monkeypatch.setattr(host, "OS_RELEASE", release)
    for module in (stamps, registry, imds):
        monkeypatch.setattr(module, "STATE_DIR", tmp_path / "state")
    monkeypatch.setattr(registry, "TOKENS", tmp_path / "state/logins.json")
    monkeypatch.setattr(registry, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(imds, "LISTING", tmp_path / "state/imds.listing")
    monkeypatch.setattr(imds, "RULES", tmp_path / "etc/imds.nft")
    monkeypatch.setattr(imds, "FOREIGN_DROP_IN", tmp_path / "units/nftables.service.d/evenkeel-imds.conf")
    for module in (units, imds):
        monkeypatch.setattr(module, "UNIT_DIR", tmp_path / "units")
    monkeypatch.setattr(host_lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(engine, "CONFIG", tmp_path / "etc/daemon.json")
    monkeypatch.setattr(engine, "WRITTEN", tmp_path / "state/daemon.json")
    monkeypatch.setattr(engine, "outlived", lambda: False)
    monkeypatch.setattr(published_ports, "CONFIG", tmp_path / "etc/daemon.json")
    monkeypatch.setattr(published_ports, "PID", tmp_path / "docker.pid")
    monkeypatch.setattr(published_ports, "own_address", lambda: "")
    switches = tmp_path / "sysctl"
    (switches / "conf" / "eth0").mkdir(parents=True)
    for switch in ("ip_forward", "conf/eth0/forwarding"):
        (switches / switch).write_text("1\n")
    (tmp_path / "default-route").write_text("Iface Destination\neth0 00000000\neth0 0000010A\n")
    monkeypatch.setattr(forwarding, "SYSCTL", switches)
    monkeypatch.setattr(forwarding, "ROUTES", tmp_path / "default-route")
    monkeypatch.setattr(forwarding, "FILE", tmp_path / "etc/sysctl.d/zz-evenkeel-forwarding.conf")
    monkeypatch.setattr(forwarding, "DROP_IN", tmp_path / "units/docker.service.d/evenkeel-forwarding.conf")
    monkeypatch.setattr(forwarding, "LAST", tmp_path / "etc/sysctl.conf")
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(stand_in, "forget", lambda _stale: None)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(files, "_current_attributes", lambda status: files.Attributes(status.st_mode & 0o7777, 0, 0))
    return tmp_path


@pytest.fixture
def target(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on which every command exists."""
    monkeypatch.setattr(Host, "has_command", lambda *_: True)
    subject = Host(runner=runner)
    subject.declaration = "role"
    return subject


@pytest.fixture
def checked(target: Host) -> Host:
    target.check_mode = True
    return target


@pytest.fixture
def docker_engine(monkeypatch: pytest.MonkeyPatch) -> EngineDouble:
    double = EngineDouble()
    monkeypatch.setattr(docker, "unix_request", double.unix_request)
    return double
