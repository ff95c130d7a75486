# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import imds
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.docker import Docker
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.imds import ensure_imds
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.units import Units
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import (
    EngineDouble,
    Runner,
    unit_block,
)


@pytest.fixture(autouse=True)
def active_unit(runner: Runner, docker_engine: EngineDouble) -> None:
    runner.answer("systemctl show", unit_block())
    runner.answer("nft -s -n list", "table inet evenkeel_imds { as nft prints it }\n")
    docker_engine.networks["app-net"] = {"Id": "0123456789abcdef", "Name": "app-net", "Driver": "bridge"}


def ensure(host: Host, *declared: str, **spec: object) -> None:
    units = Units(host)
    ensure_imds(host, units, Docker(host, units), {"users": ["root"], "networks": ["app-net"], **spec}, declared)


def test_only_users_and_networks_get_through() -> None:
    rules = imds.restricted(["0", "1000"], ["br-0", "br-1"])
    assert "meta skuid { 0, 1000 } accept" in rules
    assert 'iifname { "br-0", "br-1" } accept' in rules
    assert rules.index("skuid") < rules.index("jump to_imds")
    for address in ("ip daddr 169.254.169.254", "ip6 daddr fd00:ec2::254"):
        assert f"{address} jump from_host" in rules
        assert f"{address} jump from_containers" in rules
    assert "169.254.169.253" not in rules
    assert "169.254.169.123" not in rules


def test_nobody_allowed_means_nobody() -> None:
    rules = imds.restricted([], [])
    assert "accept\n" not in rules.replace("policy accept;", "")


def test_allowing_restricts_nothing() -> None:
    assert "reject" not in imds.allowed()


def test_rules_are_checked_loaded_and_kept(target: Host, runner: Runner, root: Path) -> None:
    ensure(target)
    assert 'iifname { "br-0123456789ab" } accept' in imds.RULES.read_text()
    assert runner.ran("nft -c -f")
    assert runner.ran(f"nft -f {imds.RULES}")
    assert (root / "units/evenkeel-imds.service").exists()
    assert (root / "units/nftables.service.d/evenkeel-imds.conf").exists()
    assert "systemctl daemon-reload" in runner.lines
    done = len(target.changes)
    ensure(target)
    assert len(target.changes) == done


def test_a_flushed_table_is_loaded_again(target: Host, runner: Runner) -> None:
    ensure(target)
    done = len(target.changes)
    runner.answers.insert(0, ("nft -s -n list", [runner(["true"], 1, None, {})]))
    ensure(target)
    assert target.changes[done:] == [
        {"declaration": "role", "resource": "nftables table evenkeel_imds", "action": "load"}
    ]


def test_what_nft_refuses_is_not_loaded(target: Host, runner: Runner) -> None:
    runner.answer("nft -c", code=1, stderr="syntax error")
    with pytest.raises(HostError, match="nft refuses the new"):
        ensure(target)
    assert not imds.RULES.exists()
    assert not runner.ran("nft -f")


def test_a_network_that_does_not_exist(target: Host, docker_engine: EngineDouble) -> None:
    docker_engine.networks.clear()
    ensure(target, "app-net")
    assert target.warnings == []
    assert "iifname" not in imds.RULES.read_text()
    ensure(target)
    assert "there is no Docker network app-net" in target.warnings[0]


def test_only_bridges_can_be_allowed(target: Host, docker_engine: EngineDouble) -> None:
    docker_engine.networks["app-net"]["Driver"] = "macvlan"
    with pytest.raises(HostError, match="is of the type macvlan"):
        ensure(target)


def test_an_unknown_user(target: Host) -> None:
    with pytest.raises(HostError, match="There is no user nobody-like-this"):
        ensure(target, users=["nobody-like-this"])


def test_check_mode_changes_nothing(checked: Host, runner: Runner) -> None:
    ensure(checked)
    assert [line for line in runner.lines if "list" not in line and "show" not in line] == []
    assert not imds.RULES.exists()
    assert checked.changes


def test_absent_removes_all(target: Host, runner: Runner, root: Path) -> None:
    ensure(target)
    ensure(target, mode="absent")
    assert "nft delete table inet evenkeel_imds" in runner.lines
    assert not imds.RULES.exists()
    assert not (root / "units/evenkeel-imds.service").exists()
    assert not imds.FOREIGN_DROP_IN.exists()
    runner.answers.clear()
    runner.answer("systemctl show", unit_block(LoadState="not-found", ActiveState="inactive", UnitFileState=""))
    done = len(target.changes)
    ensure(target, mode="absent")
    assert len(target.changes) == done
