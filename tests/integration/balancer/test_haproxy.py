# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""target_drain on real HAProxies, with real requests in flight."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.balancer.balancers import Balancer, Upstream
from tests.integration.support import await_true, run_module, start_module


def arguments(state: str, *sockets: str, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "balancer": "haproxy",
        "target": "a",
        "sockets": list(sockets),
        "backends": ["gateways"],
        "timeout": 15,
        **more,
    }


def call(state: str, *sockets: str, check: bool = False, **more: Any) -> dict[str, Any]:
    return run_module("target_drain", arguments(state, *sockets, **more), check=check)


def hold_a_request(balancer: Balancer, upstreams: dict[str, Upstream], pool: ThreadPoolExecutor) -> list[Any]:
    """Requests that wait on each of the two servers."""
    held = [pool.submit(balancer.get, "/held") for _ in range(2)]
    await_true(lambda: upstreams["a"].held == upstreams["b"].held == 1, "each server holds a request")
    return held


def test_what_is_in_flight_is_finished(pair: tuple[Balancer, Balancer], upstreams: dict[str, Upstream]) -> None:
    one, two = pair
    with ThreadPoolExecutor() as pool:
        held = hold_a_request(one, upstreams, pool)
        running = start_module("target_drain", arguments("drained", one.admin, f"127.0.0.1:{two.tcp}"))
        await_true(lambda: one.status("a") == two.status("a") == "DRAIN", "the server is drained in both")
        assert {one.get() for _ in range(10)} | {two.get() for _ in range(10)} == {"b"}
        assert running.process.poll() is None
        for upstream in upstreams.values():
            upstream.release.set()
        result = running.result()
        assert sorted(answer.result(10) for answer in held) == ["a", "b"]
    assert (result["failed"], result["changed"], result["cut_sessions"]) == (False, True, 0)
    assert [(place["before"], place["state"]) for place in result["places"]] == [("UP", "DRAIN")] * 2
    assert any("1 sessions" in line for line in result["progress"])
    assert result["diff"]["before"] == {one.admin: {"gateways/a": "UP"}, f"127.0.0.1:{two.tcp}": {"gateways/a": "UP"}}

    again = call("drained", one.admin, f"127.0.0.1:{two.tcp}")
    assert (again["failed"], again["changed"]) == (False, False)
    assert again["requests"] == 22, "those of both servers in both"
    back = call("in_service", one.admin, f"127.0.0.1:{two.tcp}")
    assert (back["failed"], back["changed"]) == (False, True)
    assert [place["state"] for place in back["places"]] == ["UP", "UP"]
    assert {one.get() for _ in range(10)} == {"a", "b"}
    assert call("in_service", one.admin)["changed"] is False


@pytest.mark.parametrize("on_timeout", ["fail", "cut"])
def test_what_is_left_at_the_end(
    pair: tuple[Balancer, Balancer], upstreams: dict[str, Upstream], on_timeout: str
) -> None:
    one, _ = pair
    with ThreadPoolExecutor() as pool:
        held = hold_a_request(one, upstreams, pool)
        result = call("drained", one.admin, timeout=0.5, on_timeout=on_timeout)
        left = f"1 on gateways/a at {one.admin}"
        if on_timeout == "fail":
            assert (result["failed"], one.status("a")) == (True, "DRAIN")
            assert result["msg"] == f"Sessions were left after 0.5 s: {left}. The server stays drained."
        else:
            assert (result["failed"], result["cut_sessions"], one.status("a")) == (False, 1, "MAINT")
            assert f"Sessions were shut down after 0.5 s: {left}." in str(result["warnings"])
        for upstream in upstreams.values():
            upstream.release.set()
        answers = sorted(answer.result(10) for answer in held)
        assert answers == (["a", "b"] if on_timeout == "fail" else ["502", "b"])


@pytest.mark.parametrize("maintenance", [False, True])
def test_only_a_server_that_checks_find_up_is_in_service(
    pair: tuple[Balancer, Balancer], upstreams: dict[str, Upstream], maintenance: bool
) -> None:
    one, _ = pair
    one.ask(f"set server gateways/a state {'maint' if maintenance else 'drain'}")
    port = upstreams["a"].port
    upstreams.pop("a").stop()
    if not maintenance:
        await_true(lambda: "L4CON" in one.row("a")["check_status"], "the check fails")
    result = call("in_service", one.admin, timeout=1)
    assert (result["failed"], one.status("a")) == (True, "DOWN")
    assert f"Not up within 1 s: gateways/a is DOWN in {one.admin}" in result["msg"]
    assert "L4CON Layer4 connection problem" in result["msg"]
    assert {one.get() for _ in range(10)} == {"b"}
    upstreams["a"] = Upstream("a", port)
    assert call("in_service", one.admin)["failed"] is False
    assert {one.get() for _ in range(10)} == {"a", "b"}


def test_without_health_checks(pair: tuple[Balancer, Balancer]) -> None:
    one, _ = pair
    assert call("drained", one.admin, backends=["unchecked"])["failed"] is False
    one.ask("set server unchecked/a state maint")
    assert call("in_service", one.admin, backends=["unchecked"])["failed"] is False
    assert one.status("a", "unchecked") == "no check"


def test_all_backends_that_have_it(pair: tuple[Balancer, Balancer]) -> None:
    one, _ = pair
    result = call("drained", one.admin, backends=[])
    assert {place["target"] for place in result["places"]} == {"gateways/a", "unchecked/a"}
    only = call("drained", one.admin, backends=[], target="c", min_healthy=0)
    assert [place["target"] for place in only["places"]] == ["unchecked/c"]


def test_the_last_server_stays(pair: tuple[Balancer, Balancer]) -> None:
    one, two = pair
    two.ask("set server gateways/b state maint")
    result = call("drained", one.admin, two.admin)
    assert (result["failed"], result["changed"]) == (True, False)
    assert f"gateways/a stays in service at {two.admin}: 0 other servers" in result["msg"]
    assert one.status("a") == two.status("a") == "UP"
    assert call("drained", one.admin, two.admin, min_healthy=0)["changed"]


def test_a_server_or_backend_that_is_unknown(pair: tuple[Balancer, Balancer]) -> None:
    one, _ = pair
    nobody = call("drained", one.admin, target="x")
    assert nobody["msg"] == f"HAProxy at {one.admin} has no server x in gateways; it has a, b."
    nowhere = call("drained", one.admin, backends=["gateways", "x"])
    assert nowhere["msg"] == f"HAProxy at {one.admin} has no backend x; it has gateways, unchecked."
    assert one.status("a") == "UP"


def test_one_that_is_gone_or_silent_is_a_no(pair: tuple[Balancer, Balancer]) -> None:
    one, two = pair
    two.stop()
    for state in ("drained", "in_service"):
        result = call(state, one.admin, two.admin)
        assert (result["failed"], result["changed"]) == (True, False)
        assert f"runtime API did not answer at {two.admin}" in result["msg"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = call("drained", one.admin, f"127.0.0.1:{silent.getsockname()[1]}")
        assert "did not answer" in result["msg"]
    assert one.status("a") == "UP"
    assert "neither a path" in call("drained", "haproxy")["msg"]


def test_one_that_dies_while_draining_is_a_no(pair: tuple[Balancer, Balancer], upstreams: dict[str, Upstream]) -> None:
    one, two = pair
    with ThreadPoolExecutor() as pool:
        held = hold_a_request(one, upstreams, pool)
        running = start_module("target_drain", arguments("drained", one.admin, two.admin, timeout=2))
        await_true(lambda: two.status("a") == "DRAIN", "it is drained")
        two.stop()
        for upstream in upstreams.values():
            upstream.release.set()
        assert sorted(answer.result(10) for answer in held) == ["a", "b"]
    result = running.result()
    assert (result["failed"], result["changed"]) == (True, True)
    assert f"runtime API did not answer at {two.admin}" in result["msg"]


def test_one_that_does_not_obey_puts_the_other_back(pair: tuple[Balancer, Balancer]) -> None:
    one, two = pair
    result = call("drained", one.admin, str(two.folder / "operator.sock"))
    assert result["failed"]
    assert "needs 'level admin'" in result["msg"]
    assert one.status("a") == two.status("a") == "UP"


def test_a_server_that_is_made_ready_meanwhile(pair: tuple[Balancer, Balancer], upstreams: dict[str, Upstream]) -> None:
    one, _ = pair
    with ThreadPoolExecutor() as pool:
        held = hold_a_request(one, upstreams, pool)
        running = start_module("target_drain", arguments("drained", one.admin))
        await_true(lambda: one.status("a") == "DRAIN", "it is drained")
        one.ask("set server gateways/a state ready")
        assert "gets requests again" in running.result()["msg"]
        for upstream in upstreams.values():
            upstream.release.set()
        assert [answer.result(10) for answer in held]


@pytest.mark.parametrize(("state", "after"), [("drained", "DRAIN"), ("in_service", "UP")])
def test_check_mode_tells_and_touches_nothing(pair: tuple[Balancer, Balancer], state: str, after: str) -> None:
    one, _ = pair
    if state == "in_service":
        one.ask("set server gateways/a state drain")
    before = one.status("a")
    result = call(state, one.admin, check=True)
    assert (result["failed"], result["changed"], one.status("a")) == (False, True, before)
    assert result["diff"] == {
        "before": {one.admin: {"gateways/a": before}},
        "after": {one.admin: {"gateways/a": after}},
    }


def test_the_state_of_a_server_is_told_and_nothing_changed(pair: tuple[Balancer, Balancer]) -> None:
    sockets = [balancer.admin for balancer in pair]
    asked = {"balancer": "haproxy", "target": "a", "sockets": sockets, "backends": ["gateways"]}
    result = run_module("target_info", asked)
    assert not result["failed"] and not result.get("changed")
    assert [place["state"] for place in result["places"]] == ["UP", "UP"]
    assert isinstance(result["requests"], int)
    unknown = run_module("target_info", {**asked, "target": "nobody"})
    assert unknown["failed"] and "has no server nobody in gateways; it has a, b." in unknown["msg"]
