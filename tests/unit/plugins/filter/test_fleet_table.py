# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.fleet.plugins.filter.fleet_table import fleet_table

SITE = ["instance", "image", "version", "health", "leader"]
ROLLOUT = ["instance", "version", "in service", "leader", "seconds", "update"]


def container(instance: str, leads: bool | None = False, **values: Any) -> dict[str, Any]:
    about = {"instanceId": instance, "version": "2.4.1", "amILeader": leads}
    return {"digest": "sha256:" + "a" * 64, "status": "running", "about": about, **values}


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_after_a_bootstrap_each_host_has_image_health_and_leader() -> None:
    hosts = {"a": {"container": container("i-1", leads=True)}, "b": {"container": container("i-2")}}
    assert fleet_table(hosts, columns=SITE) == [
        "host  instance  image                version  health   leader",
        "a     i-1       sha256:aaaaaaaaaaaa  2.4.1    healthy  leader",
        "b     i-2       sha256:aaaaaaaaaaaa  2.4.1    healthy  -",
    ]


def test_a_leader_that_was_read_again_counts_more() -> None:
    hosts = {
        "a": {"container": container("i-1", leads=True), "leader": "i-2"},
        "b": {"container": container("i-2"), "leader": "i-2"},
    }
    assert [row[-1] for row in cells(fleet_table(hosts, columns=SITE))] == ["leader", "-", "leader"]


def test_a_host_without_a_result_is_shown() -> None:
    results: list[dict[str, Any]] = [{}, {"container": {}}, {"container": None}, {"container": {"status": None}}]
    for host in results:
        assert cells(fleet_table({"a": host}, columns=SITE))[1] == ["a", "-", "-", "-", "failed or unreachable", "-"]


def test_a_container_that_does_not_run_says_so() -> None:
    stopped = {"a": {"container": container("i-1", status="exited")}}
    assert cells(fleet_table(stopped, columns=["health"]))[1] == ["a", "exited"]


def test_check_mode_has_waited_for_nobody() -> None:
    hosts = {"a": {"container": container("i-1")}}
    assert cells(fleet_table(hosts, columns=["health"], check_mode=True))[1] == ["a", "running"]


def test_after_a_rollout_each_host_has_what_became_of_it() -> None:
    hosts: dict[str, dict[str, Any]] = {
        "a": {"instance_id": "i-1", "seconds": 4.26},
        "b": {"instance_id": "i-2"},
        "c": {"instance_id": "i-3"},
    }
    instances = [
        {"instance_id": "i-1", "version": "2", "in_service": True, "leads": True},
        {"instance_id": "i-2", "version": "1", "in_service": False, "leads": False},
    ]
    events = [
        {"kind": "done", "host": "a"},
        {"kind": "handed_over", "host": "a"},
        {"kind": "failed", "host": "b"},
        {"kind": "handover_failed", "words": "no answer"},
        {"kind": "put_back", "host": "b"},
    ]
    assert fleet_table(hosts, columns=ROLLOUT, instances=instances, events=events) == [
        "host  instance  version  in service  leader  seconds  update",
        "a     i-1       2        yes         leader  4.3      done",
        "b     i-2       1        NO          -       0.0      put_back",
        "c     i-3       -        NO          -       0.0      -",
    ]
