# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import forwarding, published_ports
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import Units
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import (
    FILTER,
    NAT,
    EngineDouble,
    Runner,
)

FLUSHED = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n"
FORWARDS = ("-A FORWARD -o br-5919681ed91b -j DOCKER\n", "-A FORWARD -j DOCKER-FORWARD\n")


@pytest.fixture
def gateway(docker_engine: EngineDouble) -> dict[str, Any]:
    entry = docker_engine.add("gateway")
    entry["HostConfig"]["PortBindings"] = {"3000/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    entry["NetworkSettings"]["Networks"] = {"app-net": {"IPAddress": "172.18.0.2"}}
    return entry


def rules(runner: Runner, nat: Sequence[str] = (NAT,), filter_table: Sequence[str] = (FILTER,)) -> None:
    for one in nat:
        runner.answer("iptables -w 5 -t nat -S", one)
    for one in filter_table:
        runner.answer("iptables -w 5 -t filter -S", one)


def look(host: Host, *containers: dict[str, Any]) -> published_ports.Reachability:
    return published_ports.check_reachability(host, Docker(host, None), containers)


def ensure(host: Host, **options: Any) -> None:
    published_ports.ensure_published(host, Docker(host, None), [{"name": "gateway"}], **options)


def test_a_way_that_is_open(target: Host, gateway: dict[str, Any]) -> None:
    assert look(target, gateway) == published_ports.Reachability()
    assert look(target, gateway).reachable is True
    ensure(target)
    assert target.changes == []


@pytest.mark.parametrize(
    ("nat", "filter_table", "missing"),
    [
        (FLUSHED, FILTER, "chain DOCKER of table nat"),
        (NAT.replace("-A PREROUTING", "-A POSTROUTING"), FILTER, "the jump from PREROUTING to DOCKER in table nat"),
        (NAT, "-P FORWARD DROP\n", "chain DOCKER of table filter"),
        (NAT, FILTER.replace("-A FORWARD", "-A INPUT"), "the jump from FORWARD to DOCKER in table filter"),
        (NAT.replace("172.18.0.2:3000", "172.18.0.9:3000"), FILTER, "port 8080 to 172.18.0.2:3000"),
        (NAT.replace("--dport 8080", "--dport 80"), FILTER, "port 8080 to 172.18.0.2:3000"),
    ],
)
def test_rules_that_are_gone(
    target: Host, runner: Runner, gateway: dict[str, Any], nat: str, filter_table: str, missing: str
) -> None:
    rules(runner, [nat], [filter_table])
    way = look(target, gateway)
    assert way.missing == [missing]
    assert way.reachable is False


def test_a_network_that_publishes_nothing_needs_no_rules(target: Host, runner: Runner, gateway: dict[str, Any]) -> None:
    rules(runner, [NAT.replace("--dport 8080", "--dport 80")])
    gateway["NetworkSettings"]["Ports"] = {"3000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    assert look(target, gateway).reachable is False
    gateway["NetworkSettings"]["Ports"] = {"3000/tcp": None}
    assert look(target, gateway).reachable is True


def test_newer_engines_have_other_chains(target: Host, runner: Runner, gateway: dict[str, Any]) -> None:
    rules(runner, filter_table=[FILTER.replace(*FORWARDS)])
    assert look(target, gateway).reachable is True
    published_ports.CONFIG.parent.mkdir()
    published_ports.CONFIG.write_text(json.dumps({"bridge": "none"}))
    rules(runner, filter_table=[FILTER.replace(FORWARDS[0], "")])
    assert look(target).missing == []


def test_an_engine_that_writes_nftables_itself(
    target: Host, runner: Runner, gateway: dict[str, Any], docker_engine: EngineDouble
) -> None:
    rules(runner, [FLUSHED], [FLUSHED])
    docker_engine.infos = [{"FirewallBackend": {"Driver": "nftables"}}]
    assert look(target, gateway).missing == []
    runner.answer("nft list table ip docker-bridges", code=1)
    assert look(target, gateway).missing == ["nftables table ip docker-bridges"]


def test_an_engine_that_leaves_the_firewall_alone(target: Host, runner: Runner, gateway: dict[str, Any]) -> None:
    rules(runner, [FLUSHED], [FLUSHED])
    published_ports.CONFIG.parent.mkdir()
    published_ports.CONFIG.write_text(json.dumps({"iptables": False}))
    assert look(target, gateway).reachable is True
    published_ports.CONFIG.unlink()
    assert look(target, gateway).reachable is False


def test_what_can_not_be_told_is_not_well(target: Host, runner: Runner, gateway: dict[str, Any]) -> None:
    runner.answer("iptables -w 5 -t filter -S", code=127, stderr="iptables: command not found")
    way = look(target, gateway)
    assert way.reachable is None
    assert "command not found" in way.words
    # It is no reason to stop, as it is not known that anything is wrong.
    ensure(target)


@pytest.mark.usefixtures("gateway")
def test_live_restore_lets_the_engine_put_them_back(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    docker_engine.infos = [{"LiveRestoreEnabled": True}]
    rules(runner, [FLUSHED, NAT], [FLUSHED, FILTER])
    ensure(target)
    assert runner.ran("systemctl") == ["systemctl reset-failed docker.service", "systemctl restart docker.service"]
    assert [(change["resource"], change["action"]) for change in target.changes] == [
        ("Docker's rules in the firewall", "restore")
    ]
    assert target.restarted == ["docker.service"]
    assert "live-restore keeps the containers running" in target.warnings[0]
    ensure(target)
    assert len(target.changes) == 1


@pytest.mark.usefixtures("gateway")
def test_check_mode_tells_and_restarts_nothing(checked: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    docker_engine.infos = [{"LiveRestoreEnabled": True}]
    rules(runner, [FLUSHED], [FLUSHED])
    ensure(checked)
    assert [change["action"] for change in checked.changes] == ["restore"]
    assert "chain DOCKER of table nat" in checked.diff[0]["before"]
    assert runner.ran("systemctl") == []


@pytest.mark.usefixtures("gateway")
def test_without_live_restore_it_is_refused(target: Host, runner: Runner, docker_engine: EngineDouble) -> None:
    rules(runner, [FLUSHED], [FLUSHED])
    for options in ({}, {"mend": False}):
        with pytest.raises(HostError, match=r"nothing was stopped.*would stop gateway.*systemctl restart docker"):
            ensure(target, **options)
    assert runner.ran("systemctl") == []
    docker_engine.containers.clear()
    runner.answers = [entry for entry in runner.answers if not entry[0].startswith("iptables")]
    rules(runner, [FLUSHED, NAT], [FLUSHED, FILTER])
    ensure(target)
    assert "systemctl restart docker.service" in runner.lines


@pytest.mark.usefixtures("gateway")
def test_a_restart_that_would_lose_them_is_none_of_ours(
    target: Host, runner: Runner, docker_engine: EngineDouble
) -> None:
    docker_engine.infos = [{"LiveRestoreEnabled": True, "DockerRootDir": "/var/lib/docker"}]
    published_ports.CONFIG.parent.mkdir()
    published_ports.CONFIG.write_text(json.dumps({"data-root": "/srv/docker"}))
    rules(runner, [FLUSHED], [FLUSHED])
    with pytest.raises(HostError, match="has another data-root than it runs with"):
        ensure(target)


@pytest.mark.usefixtures("gateway")
def test_rules_that_do_not_come_back(
    target: Host, runner: Runner, monkeypatch: pytest.MonkeyPatch, docker_engine: EngineDouble
) -> None:
    monkeypatch.setattr(published_ports, "RULES_PATIENCE", 0.0)
    docker_engine.infos = [{"LiveRestoreEnabled": True}]
    rules(runner, [FLUSHED], [FLUSHED])
    with pytest.raises(HostError, match="still missing from the firewall"):
        ensure(target)


def test_nothing_is_forwarded(target: Host, gateway: dict[str, Any]) -> None:
    (forwarding.SYSCTL / "ip_forward").write_text("0\n")
    way = look(target, gateway)
    assert way.reachable is False
    with pytest.raises(HostError, match=r"not reached from outside\. IPv4 forwarding is off \(net\.ipv4\.ip_forward=0"):
        ensure(target)
    # It must not be reached from outside.
    gateway["HostConfig"]["PortBindings"] = {}
    assert look(target, gateway).reachable is True


def test_one_interface_does_not_forward(target: Host, gateway: dict[str, Any]) -> None:
    (forwarding.SYSCTL / "conf/eth0/forwarding").write_text("0\n")
    assert "sysctl -w net.ipv4.conf.eth0.forwarding=1" in look(target, gateway).words


@pytest.mark.parametrize(
    ("chain", "reachable"),
    [
        ("-A FORWARD -j DROP\n-A FORWARD -j DOCKER-USER\n", False),
        ("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -j REJECT\n", False),
        ("-A DOCKER-USER -j REJECT --reject-with icmp-port-unreachable\n-A FORWARD -j DOCKER-USER\n", False),
        ("-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -s 10.0.0.0/8 -j RETURN\n-A DOCKER-USER -j DROP\n", True),
        ("-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n-A FORWARD -j DROP\n", True),
        ("-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-FORWARD\n-A FORWARD -j DROP\n", True),
    ],
)
def test_what_drops_all_before_docker(
    target: Host, runner: Runner, gateway: dict[str, Any], chain: str, reachable: bool
) -> None:
    rules(runner, filter_table=[FILTER.replace("-A FORWARD -j DOCKER-USER\n", chain)])
    assert look(target, gateway).reachable is reachable


HOOK = "\t\ttype filter hook forward priority filter; policy {};"


@pytest.mark.parametrize(
    ("table", "policy", "body", "reachable"),
    [
        ("inet filter", "drop", "", False),
        ("inet filter", "drop", "\t\tct state established,related accept\n", False),
        ("inet filter", "drop", '\t\tiifname "eth0" tcp dport 3000 accept\n', None),
        ("inet firewalld", "drop", "\t\tct status dnat accept\n", True),
        ("inet filter", "accept", "", True),
        ("ip filter", "drop", "", True),
        ("ip6 hardening", "drop", "", True),
        ("inet evenkeel_imds", "drop", "", True),
    ],
)
def test_other_tables_that_drop(
    target: Host,
    runner: Runner,
    gateway: dict[str, Any],
    table: str,
    policy: str,
    body: str,
    reachable: bool | None,
) -> None:
    head = f"table {table} {{\n\tchain forward {{\n{HOOK.format(policy)}\n"
    runner.answer("nft list chains", f"{head}\t}}\n}}\n")
    runner.answer(f"nft list chain {table} forward", f"{head}{body}\t}}\n}}\n")
    way = look(target, gateway)
    assert way.reachable is reachable
    assert (f"{table} forward" in way.words) is (reachable is not True)


def test_the_url_that_others_have(gateway: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_ports, "own_address", lambda: "10.0.0.7")
    there = "http://10.0.0.7:8080/api/health"
    assert published_ports.outside_url(gateway, "http://127.0.0.1:8080/api/health") == there
    assert published_ports.outside_url(gateway, "http://127.0.0.1:9090/api/health") == "", "another container's port"
    assert published_ports.outside_url(gateway, "http://10.0.0.9:8080/") == ""
    assert published_ports.outside_url(gateway, "https://127.0.0.1:8080/") == "", "its certificate is of another name"
    gateway["HostConfig"]["PortBindings"]["3000/tcp"][0]["HostIp"] = "127.0.0.1"
    assert published_ports.outside_url(gateway, "http://127.0.0.1:8080/") == "", "it is for the host alone"
    monkeypatch.setattr(published_ports, "own_address", lambda: "")
    gateway["HostConfig"]["PortBindings"]["3000/tcp"][0]["HostIp"] = ""
    assert published_ports.outside_url(gateway, "http://127.0.0.1:8080/") == ""


def forward(host: Host, *, wanted: bool = True) -> None:
    forwarding.ensure_forwarding(host, Units(host), wanted=wanted)


def test_forwarding_is_switched_on_and_kept(target: Host, runner: Runner) -> None:
    (forwarding.SYSCTL / "ip_forward").write_text("0\n")
    checked = Host(check_mode=True, runner=runner)
    forward(checked)
    assert [change["resource"] for change in checked.changes] == [
        str(forwarding.FILE),
        str(forwarding.DROP_IN),
        "sysctl net.ipv4.ip_forward",
    ]
    assert not forwarding.FILE.exists()
    forward(target)
    assert (forwarding.SYSCTL / "ip_forward").read_text() == "1\n"
    assert "net.ipv4.ip_forward = 1" in forwarding.FILE.read_text()
    assert runner.ran("systemctl") == ["systemctl daemon-reload"]
    forward(target)
    assert len(target.changes) == 3
    assert target.warnings == []
    forward(target, wanted=False)
    assert not forwarding.FILE.exists()
    assert not forwarding.DROP_IN.exists()


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_the_policy_for_what_is_not_for_containers_stays(target: Host, runner: Runner, policy: str) -> None:
    runner.answer("iptables -w 5 -S FORWARD", f"-P FORWARD {policy}\n")
    forward(target)
    assert forwarding.FILE.exists()
    assert forwarding.DROP_IN.exists() is (policy == "DROP")


def test_what_hardening_says_last_is_said(target: Host) -> None:
    forwarding.LAST.parent.mkdir()
    forwarding.LAST.write_text("# CIS\nnet.ipv4.ip_forward = 0\n")
    forward(target)
    assert "remove net.ipv4.ip_forward from it" in target.warnings[0]
