# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swaps that fail: the old container serves again, and the message names the cause."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.swap.little_host import REGISTRY, LittleHost, Watch
from tests.integration.swap.swaps import Swaps


@pytest.fixture(scope="module", autouse=True)
def tidy(host: LittleHost) -> Iterator[None]:
    yield
    host.remove_containers()


@pytest.fixture(scope="module")
def old(host: LittleHost) -> dict[str, Any]:
    """A container that serves, and a previous one of an earlier rollout."""
    swap = Swaps(host)
    swap(host.image("v0"))
    answer = swap(host.image("v1"), wanted_version="v1")
    assert answer["outcome"] == "swapped", answer
    serving: dict[str, Any] = answer["serving"]
    return serving


@pytest.fixture
def swaps(host: LittleHost, old: dict[str, Any]) -> Iterator[Swaps]:
    """Whatever the test does to it, the old one is the one that serves afterwards, and the earlier one its previous."""
    before = host.containers()
    assert before["app"] == old["id"]
    yield Swaps(host)
    assert host.containers() == before
    found = host.inspect("app")
    assert found["State"]["Running"]
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert '"version": "v1"' in host.get("/health")


def assert_rolled_back(answer: dict[str, Any], old: dict[str, Any], watch: Watch, *words: str) -> None:
    assert answer["failed"]
    assert answer["outcome"] == "rolled_back", answer["msg"]
    assert answer["old"] == answer["serving"] == old
    assert answer["new"]["id"] not in (None, old["id"])
    for word in (*words, "the old one is back and serves"):
        assert word in answer["msg"]
    assert "hunter2" not in str(answer)
    watch.assert_never_two()


def assert_untouched(answer: dict[str, Any], old: dict[str, Any], watch: Watch, *words: str) -> None:
    assert answer["failed"]
    assert answer["outcome"] == "unchanged", answer["msg"]
    assert answer["serving"] == answer["old"]
    assert answer["serving"]["id"] == old["id"]
    for word in words:
        assert word in answer["msg"]
    assert answer["new"]["id"] is None
    assert {running for _at, running in watch.seen} == {frozenset([old["id"]])}, "it was not stopped for a moment"


BAD: list[Any] = [
    pytest.param({"crash_after": 2}, {"hold": 3}, 7, ["ended with exit code 7", "can't go on"], id="crashes after 2 s"),
    pytest.param({"crash_after": 0}, {}, 7, ["ended with exit code 7", "app: ends with 7"], id="crashes at once"),
    pytest.param({"version": "v3"}, {}, None, ["healthy", "says version v3, not wanted"], id="another version"),
    pytest.param({"sick_after": 0}, {"timeout": 2}, None, ["within 2 s", "last answered 503"], id="never healthy"),
    pytest.param({"sick_after": 1}, {"hold": 3}, None, ["it was not", "answered 503"], id="healthy, then not"),
]


@pytest.mark.parametrize(("app", "gate", "exit_code", "words"), BAD)
def test_a_bad_image(
    swaps: Swaps,
    host: LittleHost,
    old: dict[str, Any],
    request: pytest.FixtureRequest,
    app: dict[str, Any],
    gate: dict[str, Any],
    exit_code: int | None,
    words: list[str],
) -> None:
    tag = request.node.callspec.id.replace(" ", "-").replace(",", "")
    image = host.image(tag, **{"version": "wanted", **app})
    with host.watched() as watch:
        answer = swaps(image, wanted_version="wanted", container={"gate": gate})
    assert_rolled_back(answer, old, watch, *words)
    assert answer["exit_code"] == exit_code
    assert answer["log"][0].startswith("app: ")
    assert answer["new"]["digest"] == image.partition("@")[2]
    assert host.containers().keys() == {"app", "app-previous"}


def test_a_program_for_another_processor(swaps: Swaps, host: LittleHost, old: dict[str, Any]) -> None:
    image = host.image("foreign", command=["/foreign"])
    with host.watched() as watch:
        answer = swaps(image)
    here = host.ask("GET", "/version").json()["Arch"]
    words = (f"the host is {here}, and the image says it is built for {here}", "exec format error")
    assert_rolled_back(answer, old, watch, *words)


def test_an_image_for_another_processor(swaps: Swaps, host: LittleHost, old: dict[str, Any]) -> None:
    image = host.image("s390x", architecture="s390x")
    here = host.ask("GET", "/version").json()["Arch"]
    for state in ("pulled", "swapped"):
        with host.watched() as watch:
            answer = swaps(image, state=state)
        assert_untouched(answer, old, watch, f"built for s390x, and this host is {here}")


@pytest.mark.parametrize("state", ["pulled", "swapped"])
def test_a_missing_tag(swaps: Swaps, host: LittleHost, old: dict[str, Any], state: str) -> None:
    with host.watched() as watch:
        answer = swaps(f"{REGISTRY}/app:none", state=state)
    assert_untouched(answer, old, watch, "can't be pulled. There is no such image or tag")


@pytest.mark.parametrize("state", ["pulled", "swapped"])
def test_no_registry(swaps: Swaps, host: LittleHost, old: dict[str, Any], state: str) -> None:
    image = host.image("out-of-reach")
    host.stop_registry()
    try:
        with host.watched() as watch:
            answer = swaps(image, state=state)
            kept = swaps(old["image"], wanted_version="v1")
    finally:
        host.start_registry()
    assert_untouched(answer, old, watch, "The registry can't be reached", "connection refused")
    assert kept["outcome"] == "unchanged", "what is here needs no registry"


def test_a_full_disk(swaps: Swaps, host: LittleHost, old: dict[str, Any]) -> None:
    image = host.image("large", size=3_000_000)
    host.do("mount -t tmpfs -o size=64k tmpfs /var/lib/docker/tmp")
    # The engine has a mount namespace of its own only where systemd gives it one.
    try:
        with host.watched() as watch:
            answer = swaps(image)
    finally:
        host.do("umount /var/lib/docker/tmp")
    assert_untouched(answer, old, watch, "The disk is full", "docker image prune", "no space left on device")


def test_a_disk_too_small_is_said_before_the_pull(swaps: Swaps, host: LittleHost, old: dict[str, Any]) -> None:
    image = host.image("large", size=3_000_000)
    fill = "mount -t tmpfs -o size=4m tmpfs /mnt; mount --bind /mnt /var/lib/docker"
    with host.watched() as watch:
        # Only the module sees the small disk; the engine has its files open.
        narrow = ["unshare", "--mount", "bash", "-ec", f'{fill}; exec "$@"', "-"]
        answer = swaps(image, state="pulled", inside=narrow)
    assert_untouched(
        answer, old, watch, "needs about 10 MB to be pulled and unpacked", "/var/lib/docker has 4 of 4 MiB"
    )
    assert host.ask("GET", f"/images/{image}/json").status == 404


def test_a_wanted_version_without_a_gate(swaps: Swaps, host: LittleHost, old: dict[str, Any]) -> None:
    with host.watched() as watch:
        answer = swaps(host.image("v2"), wanted_version="v2", container={"gate": None})
    assert_untouched(answer, old, watch, "needs a gate")


def test_a_taken_port(swaps: Swaps, host: LittleHost, old: dict[str, Any]) -> None:
    host.do("setsid python3 -m http.server 8081 </dev/null >/dev/null 2>&1 &")
    host.do("until (: </dev/tcp/127.0.0.1/8081) 2>/dev/null; do sleep 0.05; done")
    try:
        with host.watched() as watch:
            answer = swaps(host.image("v2"), container={"ports": ["127.0.0.1:8081:3000"]})
    finally:
        host.do("pkill -f 'http.server 8081'")
    assert_untouched(answer, old, watch, "Port 8081 is taken by python3")
