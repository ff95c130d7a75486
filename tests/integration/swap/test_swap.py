# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""container_swap as a playbook calls it, on a real engine."""

from __future__ import annotations

import json

from tests.integration.support import run_by_ansible
from tests.integration.swap.little_host import LittleHost
from tests.integration.swap.swaps import Swaps

CHECK = {"url": "http://127.0.0.1:8080/health", "interval": 0.1, "timeout": 2}


def test_a_swap_keeps_the_old_one_and_tells_all(swap: Swaps, host: LittleHost) -> None:
    v1, v2 = host.image("v1"), host.image("v2")
    first = swap(v1, wanted_version="v1")
    assert (first["outcome"], first["old"], first["new"]["version"]) == ("swapped", None, "v1")
    with host.watched() as watch:
        second = swap(v2, wanted_version="v2")
    assert second["outcome"] == "swapped"
    assert second["old"] == first["serving"]
    assert second["new"] == second["serving"]
    assert second["serving"]["digest"] == v2.partition("@")[2]
    assert second["serving"]["version"] == "v2"
    assert host.containers() == {"app": second["serving"]["id"], "app-previous": first["serving"]["id"]}
    assert set(second["seconds"]) == {"pull", "create", "stand_in", "stop", "start", "gate", "put_back", "total"}
    assert second["seconds"]["total"] > second["seconds"]["stop"] > 0
    watch.assert_never_two()
    assert watch.gap() < 2
    again = swap(v2, wanted_version="v2")
    assert (again["outcome"], again["changed"], again["serving"]) == ("unchanged", False, second["serving"])


def test_back_and_forth_without_a_registry(swap: Swaps, host: LittleHost) -> None:
    v1, v2 = host.image("v1"), host.image("v2")
    first, second = swap(v1), swap(v2)
    host.stop_registry()
    try:
        with host.watched() as watch:
            back = swap(v2, state="restored", wanted_image=first["serving"]["digest"], wanted_version="v1")
            same = swap(v2, state="restored", wanted_image=first["serving"]["digest"], wanted_version="v1")
            forth = swap(v2, state="restored")
    finally:
        host.start_registry()
    assert (back["outcome"], back["serving"]["id"]) == ("restored", first["serving"]["id"])
    assert back["old"]["version"] == "v2"
    assert (same["outcome"], same["changed"]) == ("unchanged", False)
    assert forth["serving"] == second["serving"]
    assert host.containers() == {"app": second["serving"]["id"], "app-previous": first["serving"]["id"]}
    assert host.inspect("app")["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    watch.assert_never_two()


def test_a_previous_one_that_does_not_come_up_again(swap: Swaps, host: LittleHost) -> None:
    swap(host.image("once", crash_after=4))
    second = swap(host.image("v2"))
    earlier = host.containers()["app-previous"]
    answer = swap(host.image("v2"), state="restored", container={"gate": {"hold": 6}})
    assert (answer["outcome"], answer["exit_code"]) == ("rolled_back", 7)
    assert "hunter2" not in str(answer)
    assert host.containers() == {"app": second["serving"]["id"], "app-previous": earlier}
    missing = swap(host.image("v2"), state="restored", wanted_image="sha256:0123")
    assert (missing["failed"], missing["outcome"]) == (True, "unchanged")


def test_pulling_ahead(swap: Swaps, host: LittleHost) -> None:
    first = swap(host.image("v1"))
    image = host.image("ahead", size=2_000_000)
    would = swap(image, state="pulled", check=True)
    assert (would["outcome"], would["changed"]) == ("pulled", True)
    assert would["needs"]["download_mb"] == 3
    assert would["needs"]["free_mb"] > 3
    assert host.ask("GET", f"/images/{image}/json").status == 404
    with host.watched() as watch:
        pulled = swap(image, state="pulled")
        again = swap(image, state="pulled")
    assert (pulled["outcome"], pulled["changed"]) == ("pulled", True)
    assert (again["outcome"], again["changed"], again["needs"]) == ("unchanged", False, None)
    assert {running for _at, running in watch.seen} == {frozenset([first["serving"]["id"]])}
    host.stop_registry()
    try:
        looked = swap(f"{image}-of-nowhere", state="pulled", container={"pull": "never"})
        assert (looked["outcome"], looked["changed"]) == ("unchanged", False)
        assert looked["serving"]["id"] == first["serving"]["id"]
        assert swap(image, wanted_version="ahead")["outcome"] == "swapped"
    finally:
        host.start_registry()


def test_check_mode_shows_the_difference_and_no_secret(swap: Swaps, host: LittleHost) -> None:
    v1, v2 = host.image("v1"), host.image("v2")
    swap(v1, container={"env": {"DB_PASSWORD": "hunter2", "MODE": "a"}})
    before = host.containers()
    answer = swap(v2, check=True, wanted_version="v2", container={"env": {"DB_PASSWORD": "hunter3", "MODE": "b"}})
    assert (answer["outcome"], answer["changed"], answer["new"]["id"]) == ("swapped", True, None)
    diff = json.dumps(answer["diff"])
    assert v1 in diff and v2 in diff and "MODE" in diff
    assert "hunter" not in json.dumps(answer)
    assert host.containers() == before


def test_a_container_missing_under_its_name_comes_from_the_previous_one(swap: Swaps, host: LittleHost) -> None:
    swap(host.image("v1"))
    swap(host.image("v2"))
    earlier = host.containers()["app-previous"]
    host.ask("DELETE", "/containers/app?force=1")
    answer = swap("127.0.0.1:5000/app:none")
    assert answer["failed"]
    assert (answer["outcome"], answer["serving"]["id"]) == ("rolled_back", earlier)
    assert swap(host.image("v2"), wanted_version="v2")["outcome"] == "swapped"
    assert host.containers()["app-previous"] == earlier


def test_options_of_the_container_are_checked(swap: Swaps) -> None:
    answer = swap("x", container={"immage": "x"})
    assert answer["failed"]
    assert "container: immage" in answer["msg"]


def test_a_gate_on_the_host(swap: Swaps, host: LittleHost) -> None:
    swap(host.image("sick", sick_after=4))
    good = swap.gate(**CHECK, wanted_version="sick", wanted_instance="i-1", container="app", max_latency=1.0)
    assert (good["failed"], good["good"], good["version"], good["instance"]) == (False, 3, "sick", "i-1")
    assert 0 < good["latency"]["p50"] <= good["latency"]["max"] < 1
    bake = swap.gate(**CHECK, hold=30, container="app")
    assert bake["failed"]
    assert "It was healthy, but" in bake["msg"] and "answered 503" in bake["msg"]
    assert bake["seconds"] < 10
    assert bake["log"] == ["app: sick starts"]
    host.do("docker stop app")
    ended = swap.gate(**{**CHECK, "timeout": 60}, container="app")
    assert "The container app isn't healthy. It ended with exit code 0." in ended["msg"]
    assert ended["seconds"] < 5


def test_by_ansible(swap: Swaps, host: LittleHost) -> None:
    """With all that Ansible does around a module."""
    arguments = {"container": swap.container(host.image("v1")), "wanted_version": "v1"}
    for module, options in (("container_swap", arguments), ("health_gate", {**CHECK, "wanted_version": "v1"})):
        code, said = run_by_ansible(module, options, inside=host.inside)
        assert code == 0, said
        assert '"version": "v1"' in said
