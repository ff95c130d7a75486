# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import networks
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.networks import bridge_name, ensure_network
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import Units
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble

ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0
eth0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0
"""


@pytest.fixture(autouse=True)
def routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "route"
    path.write_text(ROUTES)
    monkeypatch.setattr(networks, "ROUTES", path)


def ensure(host: Host, **spec: object) -> bool:
    return ensure_network(host, Docker(host, Units(host)), {"name": "app-net", **spec})


def test_it_is_created_once(target: Host, docker_engine: EngineDouble) -> None:
    assert ensure(target, subnet="10.99.0.0/24", labels={"a": 1}, options={"x": True})
    assert docker_engine.networks["app-net"]["Labels"] == {"a": "1"}
    assert not ensure(target, subnet="10.99.0.0/24", labels={"a": 1}, options={"x": True})
    assert len(target.changes) == 1


@pytest.mark.usefixtures("docker_engine")
def test_what_is_not_declared_is_no_difference(target: Host) -> None:
    ensure(target, labels={"a": "1", "foreign": "2"}, subnet="10.99.0.0/24")
    assert not ensure(target, labels={"a": "1"})


def test_a_different_one_is_recreated_when_nobody_is_in_it(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target, subnet="10.99.0.0/24")
    assert ensure(target, subnet="10.98.0.0/24")
    assert docker_engine.networks["app-net"]["IPAM"]["Config"] == [{"Subnet": "10.98.0.0/24"}]
    assert target.changes[1]["action"] == "recreate"


@pytest.mark.parametrize("status", ["running", "exited"])
def test_a_different_one_in_use_is_refused_with_names(target: Host, docker_engine: EngineDouble, status: str) -> None:
    ensure(target, subnet="10.99.0.0/24")
    docker_engine.add("gateway", status=status)["network"] = docker_engine.networks["app-net"]["Id"]
    with pytest.raises(HostError, match=r"subnet is '10\.99\.0\.0/24', not '10\.98\.0\.0/24'\. .* cut off gateway"):
        ensure(target, subnet="10.98.0.0/24")
    assert docker_engine.networks["app-net"]["IPAM"]["Config"] == [{"Subnet": "10.99.0.0/24"}]


@pytest.mark.parametrize(
    ("declared", "difference"),
    [({"internal": True}, "internal"), ({"ipv6": True}, "ipv6"), ({"options": {"a": "b"}}, "options")],
)
def test_other_differences_count(
    target: Host, docker_engine: EngineDouble, declared: dict[str, object], difference: str
) -> None:
    ensure(target)
    docker_engine.add("gateway")["network"] = docker_engine.networks["app-net"]["Id"]
    with pytest.raises(HostError, match=f"{difference} is"):
        ensure(target, **declared)


def test_labels_alone_are_no_reason_to_stop(target: Host, docker_engine: EngineDouble) -> None:
    ensure(target)
    docker_engine.add("gateway")["network"] = docker_engine.networks["app-net"]["Id"]
    assert not ensure(target, labels={"a": "b"})
    assert "labels of the network app-net stay as they are while gateway" in target.warnings[0]


def test_a_range_that_the_host_routes_elsewhere_is_refused(target: Host, docker_engine: EngineDouble) -> None:
    with pytest.raises(HostError, match=r"10\.0\.0\.0/25 .* overlaps with 10\.0\.0\.0/24, .* through eth0"):
        ensure(target, subnet="10.0.0.0/25")
    with pytest.raises(HostError, match="is wrong"):
        ensure(target, subnet="10.0.0.300/24")
    assert docker_engine.networks == {}


def test_a_clash_with_another_network_is_explained(target: Host, docker_engine: EngineDouble) -> None:
    docker_engine.refuse[r"POST /networks/create"] = "Pool overlaps with other one on this address space"
    with pytest.raises(HostError, match="choose another subnet"):
        ensure(target, subnet="10.99.0.0/24")
    assert target.changes == []


def test_bridge_names() -> None:
    assert bridge_name({"Id": "0123456789abcdef", "Options": {}}) == "br-0123456789ab"
    assert bridge_name({"Id": "0", "Options": {"com.docker.network.bridge.name": "app0"}}) == "app0"
