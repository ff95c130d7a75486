# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports: no container is stopped if docker's rules are missing or nothing is forwarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.support import run_module
from tests.integration.swap.little_host import HOST4, NAME, PORT, URL, LittleHost
from tests.integration.swap.swaps import Swaps

LIVE_RESTORE = "--live-restore"
ASTRAY = f"OUTPUT -d {HOST4} -p tcp --dport {PORT} -j REDIRECT --to-ports 9"


class Public(Swaps):
    """The app is published to all addresses."""

    def container(self, image: str, **more: Any) -> dict[str, Any]:
        return super().container(image, **{"ports": [f"{PORT}:3000"], **more})

    def look(self) -> dict[str, Any]:
        return run_module("container_info", {"name": NAME, "url": f"{URL}/health"}, inside=self.host.inside)


@pytest.fixture(scope="module", autouse=True)
def as_it_was(host: LittleHost) -> Iterator[None]:
    host.know_another_machine()
    yield
    host.restart_engine()


@pytest.fixture
def public(host: LittleHost) -> Iterator[Public]:
    host.restart_engine()
    public = Public(host)
    assert not public(host.image("1"))["failed"]
    assert host.is_reached()
    yield public
    host.do(f"sysctl -q -w net.ipv4.ip_forward=1; ip route del default || true; iptables -t nat -D {ASTRAY} || true")
    host.remove_containers()


def flush(host: LittleHost) -> None:
    """As systemctl restart nftables does with the stock file."""
    host.do("nft flush ruleset")


@pytest.mark.parametrize("stand_in", [False, True])
def test_flushed_rules_are_noticed_before_anything_is_stopped(host: LittleHost, public: Public, stand_in: bool) -> None:
    flush(host)
    before = host.containers()
    wanted: dict[str, Any] = {"container": {"stand_in": stand_in}}
    options: dict[str, Any]
    for options in (wanted, {"state": "pulled"}, {**wanted, "check": True}, wanted):
        refused = public(host.image("2"), **options)
        assert refused["failed"]
        assert "chain DOCKER of table nat" in refused["msg"]
        assert "nothing was stopped" in refused["msg"]
        assert "systemctl restart docker" in refused["msg"]
        assert refused["outcome"] == "unchanged"
        assert host.containers() == before


def test_live_restore_puts_flushed_rules_back(host: LittleHost, public: Public) -> None:
    host.remove_containers()
    host.restart_engine(LIVE_RESTORE)
    assert not public(host.image("1"))["failed"]
    before = host.inspect(NAME)["State"]["StartedAt"]
    flush(host)
    looked = public.look()
    assert looked["health"]["healthy"]
    assert looked["published"]["reachable"] is False
    assert "chain DOCKER of table nat" in looked["published"]["problem"]
    told = public(host.image("1"), check=True)
    assert told["changed"]
    assert host.inspect(NAME)["State"]["StartedAt"] == before
    # A run that has nothing else to do.
    mended = public(host.image("1"))
    assert not mended["failed"]
    assert mended["outcome"] == "unchanged"
    assert host.is_reached()
    assert host.inspect(NAME)["State"]["StartedAt"] == before
    assert not public(host.image("1"))["changed"]
    flush(host)
    swapped = public(host.image("2"))
    assert swapped["outcome"] == "swapped"
    assert host.is_reached()
    assert public.look()["published"] == {"reachable": True, "problem": ""}


def test_nothing_is_forwarded(host: LittleHost, public: Public) -> None:
    host.do("sysctl -q -w net.ipv4.ip_forward=0")
    assert not host.is_reached()
    before = host.containers()
    for state in ("swapped", "pulled"):
        refused = public(host.image("2"), state=state)
        assert "net.ipv4.ip_forward=0" in refused["msg"]
        assert host.containers() == before
    looked = public.look()
    assert looked["health"]["healthy"], "the host itself is answered"
    assert looked["published"]["reachable"] is False
    passed = public.gate(url=f"{URL}/health", successes=1, container=NAME)
    assert passed["failed"]
    assert "net.ipv4.ip_forward=0" in passed["msg"]


def test_the_gate_asks_by_the_address_of_the_host(host: LittleHost, public: Public) -> None:
    host.do(f"ip route add default via {HOST4.rpartition('.')[0]}.2")
    assert public(host.image("2"))["outcome"] == "swapped"
    # What comes by an address other than the loopback one is led astray.
    host.do(f"iptables -t nat -I {ASTRAY}")
    passed = public.gate(url=f"{URL}/health", successes=1, container=NAME, timeout=1)
    assert passed["failed"]
    assert f"http://{HOST4}:{PORT}/health" in passed["msg"]
    looked = public.look()
    assert looked["health"]["healthy"]
    assert looked["published"]["reachable"] is False
    assert f"http://{HOST4}:{PORT}/health" in looked["published"]["problem"]
    before = host.containers()
    for stand_in in (False, True):
        refused = public(host.image("3"), container={"stand_in": stand_in})
        assert "nothing was stopped" in refused["msg"]
        assert f"http://{HOST4}:{PORT}/health" in refused["msg"]
        assert host.containers() == before
