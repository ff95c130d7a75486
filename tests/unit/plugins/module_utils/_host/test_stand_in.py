# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.http import PortMap, Response
from ansible_collections.evenkeel.fleet.plugins.module_utils._host import (
    gate,
    port_conflicts,
    replace_or_roll_back,
    stand_in,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.containers import ensure_container
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import (
    DifferenceError,
    DifferenceProbe,
    Host,
    HostError,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.stand_in import PublishedPort, copy, published, rules
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import EngineDouble, Runner

SPEC = {
    "name": "gate-way",
    "image": "registry/gateway@sha256:1",
    "networks": ["app-net"],
    "ports": ["80:3000"],
    "stand_in": True,
    "gate": {"url": "http://127.0.0.1/health", "timeout": 1, "interval": 0.01},
}
TABLE = "inet evenkeel_stand_in_gate_way"


class Asked:
    """Who was asked: by the port, or by a container's own address."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.sick: set[str] = set()

    def get(self, _url: str, _timeout: float, _verify: bool, ways: PortMap | None) -> Response:
        address = (ways or {}).get(80, ("port", 80))[0]
        self.addresses.append(address)
        return Response(503 if address in self.sick else 200, b"{}")


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, docker_engine: EngineDouble, asked: Asked) -> None:
    monkeypatch.setattr(gate, "get", asked.get)
    monkeypatch.setattr(port_conflicts, "listeners", lambda _port: [])
    monkeypatch.setattr(stand_in, "listeners", lambda _port: ["docker-proxy (pid 1)"])
    monkeypatch.setattr(stand_in, "TURN", 0.0)
    monkeypatch.setattr(replace_or_roll_back, "OLD_PATIENCE", 0.5)
    docker_engine.images = {"registry/gateway@sha256:1": {"Id": "sha256:one"}, "sha256:one": {"Id": "sha256:one"}}
    docker_engine.networks = {"app-net": {"Name": "app-net", "Id": "0123456789abcdef"}}


def ensure(host: Host, **spec: Any) -> dict[str, Any]:
    return ensure_container(host, Docker(host, None), {**SPEC, **spec}, [])


def scripts(runner: Runner) -> list[str]:
    return [text or "" for line, text in zip(runner.lines, runner.inputs) if line == "nft -f -"]


def test_ports_lead_there_before_the_old_one_stops_and_back_after_the_gate(
    target: Host, docker_engine: EngineDouble, runner: Runner, asked: Asked
) -> None:
    ensure(target)
    assert scripts(runner) == [], "there is nothing to stand in for"
    asked.addresses.clear()
    docker_engine.calls.clear()
    ensure(target, env={"A": "1"})
    assert docker_engine.state() == {"gate-way-previous": "exited", "gate-way": "running"}
    writes = [call.split("/")[-1] for call in docker_engine.calls if call.startswith(("POST", "DELETE"))]
    stands_in = ["create", "start"]
    leaves = ["stop", docker_engine.calls[-1].split("/")[-1]]
    swapped = ["update", "stop", "rename", "rename", "start", "update", "rename"]
    assert [w for w in writes if not w.startswith("id")] == ["create", *stands_in, *swapped, leaves[0]]
    turned, back = scripts(runner)
    assert f"table {TABLE} {{" in turned and "dnat ip to 10.0.0.3:3000" in turned
    assert back.endswith(f"flush set {TABLE} ports\n")
    # The old one by its port; then each by its own address.
    assert asked.addresses == ["port", "10.0.0.3", "10.0.0.3", "10.0.0.2", "10.0.0.2", "10.0.0.2"]
    assert [change["action"] for change in target.changes] == ["create", "replace"]


def test_one_that_does_not_become_healthy_stops_nothing(
    target: Host, docker_engine: EngineDouble, runner: Runner, asked: Asked
) -> None:
    ensure(target)
    before = docker_engine.state()
    asked.sick.add("10.0.0.3")
    with pytest.raises(HostError, match="The container gate-way stays; nothing was stopped") as caught:
        ensure(target, env={"A": "1"})
    assert "last answered 503" in caught.value.message
    assert docker_engine.state() == before
    assert all("dnat" not in script for script in scripts(runner))


def test_nft_refuses(target: Host, docker_engine: EngineDouble, runner: Runner) -> None:
    ensure(target)
    runner.answer("nft -f -", code=1, stderr="Operation not supported")
    runner.answer("nft -f -")
    with pytest.raises(HostError, match="Operation not supported"):
        ensure(target, env={"A": "1"})
    assert docker_engine.state() == {"gate-way": "running"}


def test_without_nft_nothing_is_stopped(
    target: Host, docker_engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(target)
    monkeypatch.setattr(Host, "has_command", lambda *_: False)
    with pytest.raises(HostError, match="declare the package nftables"):
        ensure(target, env={"A": "1"})
    assert docker_engine.state() == {"gate-way": "running"}


def test_one_that_is_not_needed_any_more_is_removed(target: Host, docker_engine: EngineDouble, runner: Runner) -> None:
    ensure(target)
    docker_engine.add("gate-way-stand-in")
    with pytest.raises(DifferenceError):
        ensure(DifferenceProbe(runner=runner))
    ensure(target)
    assert docker_engine.state() == {"gate-way": "running"}
    assert [change["action"] for change in target.changes] == ["create", "remove"]


def test_one_that_answers_goes_when_the_container_serves(
    target: Host, docker_engine: EngineDouble, runner: Runner, asked: Asked
) -> None:
    ensure(target)
    runner.answer("nft list set", "elements = { 80 timeout 1h expires 59m }")
    docker_engine.add("gate-way-stand-in")
    asked.sick.add("10.0.0.1")
    with pytest.raises(HostError) as caught:
        ensure(target)
    assert "gate-way-stand-in, a second container of the old image, serves" in caught.value.message
    assert docker_engine.state() == {"gate-way": "running", "gate-way-stand-in": "running"}
    asked.sick.clear()
    ensure(target)
    assert docker_engine.state() == {"gate-way": "running"}


def container(**host_config: Any) -> dict[str, Any]:
    return {
        "Id": "0123456789abcdef",
        "Image": "sha256:one",
        "Config": {"Hostname": "0123456789ab", "Env": ["A=1"], "Image": "gateway:latest"},
        "HostConfig": {"NetworkMode": "app-net", "RestartPolicy": {"Name": "always"}, **host_config},
        "NetworkSettings": {
            "Networks": {"app-net": {"Aliases": ["api", "0123456789ab"], "IPAddress": "10.0.0.9"}, "other": {}}
        },
    }


def test_a_copy_has_ports_of_its_own_and_all_else_as_it_is() -> None:
    bindings = {"3000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}], "53/udp": [{"HostIp": "", "HostPort": "53"}]}
    old = container(PortBindings=bindings, Memory=1, ReadonlyRootfs=True)
    body, more = copy(old, "gateway")
    assert "Hostname" not in body
    assert (body["Image"], body["Env"]) == ("sha256:one", ["A=1"])
    config = body["HostConfig"]
    assert (config["Memory"], config["ReadonlyRootfs"], config["RestartPolicy"]) == (1, True, {"Name": "no"})
    assert config["PortBindings"] == {"3000/tcp": [{"HostIp": "", "HostPort": ""}]}
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"app-net": {"Aliases": ["api", "gateway"]}}}
    assert more == {"other": {"Aliases": ["gateway"]}}


def test_published_ports_are_those_that_somebody_chose() -> None:
    chosen = [{"HostIp": "127.0.0.1", "HostPort": "80"}, {"HostIp": "", "HostPort": ""}]
    assert published(container(PortBindings={"3000/tcp": chosen})) == [PublishedPort("127.0.0.1", 80, 3000)]
    assert published(container(PortBindings=None)) == []


def test_rules_with_a_userland_proxy_and_without() -> None:
    ports = [PublishedPort("", 80, 3000, 32768, 32769), PublishedPort("127.0.0.1", 81, 3001, 32770)]
    text = rules("inet t", ports, "10.0.0.9", "br-1", proxied=True)
    assert "elements = { 80 timeout 1h, 81 timeout 1h }" in text
    assert 'iifname != "br-1" meta nfproto ipv4 fib daddr type local tcp dport 80 dnat ip to 10.0.0.9:3000' in text
    assert "ip daddr != 127.0.0.0/8 meta nfproto ipv4 fib daddr type local tcp dport 80 dnat" in text
    assert text.count("meta nfproto ipv4 fib daddr type local tcp dport 80 redirect to :32768") == 2
    assert text.count("meta nfproto ipv6 fib daddr type local tcp dport 80 redirect to :32769") == 2
    assert "ip daddr 127.0.0.1 tcp dport 81 redirect to :32770" in text
    text = rules("inet t", ports[:1], "10.0.0.9", "br-1", proxied=False)
    assert text.count("\t\tmeta nfproto ipv4 fib daddr type local tcp dport 80 dnat ip to 10.0.0.9:3000") == 2
    assert "iifname" not in text
