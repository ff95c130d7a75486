# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.filter.fleet_status import fleet_status

HOSTS = {"a": "i-1", "b": "i-2"}
OUT = {"instance_id": "i-2", "host": "b", "rollout_id": 7, "since": "10:00", "by": "ci@runner", "reason": None}
LOCK = {
    "rollout_id": 7,
    "holder": "ci@runner",
    "reason": "gateway 2",
    "since": "10:00",
    "expires_in": 90.0,
    "expired": False,
}


def look(name: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "container": {"status": "running", "image": "r/g@sha256:new", "digest": "sha256:" + "1" * 64},
        "previous": {"digest": "sha256:old"},
        "engine_error": None,
        "health": {"healthy": True, "problem": ""},
        "published": {"reachable": True, "problem": ""},
        "about": {"instanceId": HOSTS[name], "amILeader": name == "a", "version": "2"},
    }
    return {**found, **changes}


def instance(name: str, **changes: Any) -> dict[str, Any]:
    known = {"instance_id": HOSTS[name], "leads": name == "a", "heartbeat_age": 1.24, "version": "2"}
    return {**known, "in_service": True, "fresh": True, "draining_since": None, **changes}


def fleet(**changes: Any) -> dict[str, Any]:
    """A fleet of two that is well."""
    found: dict[str, Any] = {
        "looks": {"a": look("a"), "b": look("b")},
        "hosts": HOSTS,
        "leader": {"instances": [instance("a"), instance("b")], "term": 3, "doubts": []},
        "journal": {"rollouts": [], "lock": None, "interrupted": []},
    }
    return {**found, **changes}


def told(**changes: Any) -> dict[str, Any]:
    return fleet_status(**fleet(**changes))


def test_a_fleet_that_is_well() -> None:
    said = told()
    assert said["lines"] == [
        "host  instance  image                version  health   in service  leader  heartbeat",
        "a     i-1       sha256:111111111111  2        healthy  yes         leader  1.2s",
        "b     i-2       sha256:111111111111  2        healthy  yes         -       1.2s",
        "lock: free",
    ]
    status = said["status"]
    assert (status["schema"], status["problems"], status["leader"], status["term"]) == (1, [], "a", 3)
    assert status["hosts"][1]["previous_digest"] == "sha256:old"


@pytest.mark.parametrize(
    ("changes", "problem", "cell"),
    [
        ({"unreachable": True, "msg": "no route"}, "b can't be queried: no route.", "UNREACHABLE"),
        (
            look("b", health={"healthy": False, "problem": "It answered 503."}),
            "b is unhealthy. It answered 503.",
            "UNHEALTHY ",
        ),
        (
            look("b", container={"status": "exited"}, health={"healthy": False, "problem": "Refused."}, about={}),
            "b is unhealthy. Refused.",
            "UNHEALTHY (exited)",
        ),
        (look("b", container=None), "b has no gateway container.", "healthy"),
        (look("b", engine_error="No engine.", container=None), "b: No engine.", "healthy"),
        (
            look("b", about={"instanceId": "i-9"}),
            "b reports the instance id i-9, but the inventory has i-2.",
            "healthy",
        ),
    ],
)
def test_a_host_that_is_not_well(changes: dict[str, Any], problem: str, cell: str) -> None:
    said = told(looks={"a": look("a"), "b": changes})
    assert said["status"]["problems"] == [problem]
    assert cell in said["lines"][2]


def test_without_a_database_the_hosts_still_tell() -> None:
    gone = {"msg": "PostgreSQL at db: no answer."}
    status = told(leader=gone, journal=gone)["status"]
    assert status["problems"] == ["The database did not report the state of the fleet. PostgreSQL at db: no answer."]
    assert (status["leader"], status["database_answers"]) == ("a", False)
    assert [host["in_service"] for host in status["hosts"]] == [None, None]
    two = {name: look(name, about={"instanceId": HOSTS[name], "amILeader": True}) for name in HOSTS}
    assert "in doubt: a and b say that they lead" in told(leader=gone, journal=gone, looks=two)["status"]["problems"][1]
    assert "lock: unknown" in told(leader=gone, journal=gone)["lines"]


def test_whoever_was_left_out_is_a_problem_but_on_purpose_or_in_work() -> None:
    instances = [instance("a"), instance("b", in_service=False)]
    sick = look("b", health={"healthy": False, "problem": "It answered 503."})
    changes: dict[str, Any] = {
        "leader": {"instances": instances, "doubts": []},
        "looks": {"a": look("a"), "b": sick},
    }
    left = told(**changes, journal={"rollouts": [], "lock": None, "interrupted": [OUT]})
    assert "b was left out of service by rollout 7" in left["status"]["problems"][1]
    in_work = told(**changes, journal={"rollouts": [], "lock": LOCK, "interrupted": [OUT]})
    assert in_work["status"]["problems"] == []
    assert "lock: ci@runner since 10:00, for 90 s unless renewed (rollout 7: gateway 2)" in in_work["lines"]
    expired = {**LOCK, "expired": True}
    broke_off = told(**changes, journal={"rollouts": [], "lock": expired, "interrupted": [OUT]})["status"]["problems"]
    assert "has expired: the rollout was interrupted" in broke_off[0]
    assert len(broke_off) == 3
    kept = told(**changes, journal={"rollouts": [], "lock": None, "interrupted": [{**OUT, "reason": "new disk"}]})
    assert kept["status"]["problems"] == []
    assert "b is kept out of service by ci@runner since 10:00: new disk" in kept["lines"]


def test_what_the_database_doubts() -> None:
    stale = instance("b", fresh=False, in_service=False)
    stranger = {**instance("b"), "instance_id": "i-8"}
    doubtful = {"instances": [instance("a"), stale, stranger], "doubts": ["nobody leads"]}
    assert told(leader=doubtful)["status"]["problems"] == [
        "The leader is in doubt: nobody leads.",
        "b has no fresh heartbeat in the database.",
        "i-8 is in the database but not in the inventory.",
    ]
    marked = {"instances": [instance("a"), instance("b", draining_since="09:00", in_service=False)], "doubts": []}
    assert told(leader=marked)["status"]["problems"] == ["b is marked as draining since 09:00."]


def test_the_last_rollouts_and_their_failures() -> None:
    failed = {"host": "b", "step": "swap", "result": "failed", "detail": "it crashed", "at": "10:01"}
    done = {**failed, "result": "succeeded"}
    rollout = {**LOCK, "result": "failed", "seconds": 12.4, "steps": [done, failed], "hosts": {}}
    said = told(journal={"rollouts": [rollout], "lock": None, "interrupted": []})
    [shown] = said["status"]["rollouts"]
    assert shown["failures"] == [{"host": "b", "step": "swap", "detail": "it crashed"}]
    assert "steps" not in shown
    assert said["lines"][-2:] == [
        "rollout 7: failed after 12 s, since 10:00, by ci@runner: gateway 2",
        "  b, swap: it crashed",
    ]


def test_hosts_that_were_not_asked() -> None:
    said = told(looks={"a": look("a")})
    assert said["status"]["problems"] == []
    assert "not asked" in said["lines"][2]


PLACE = {"balancer": "gateways", "target": "i-2:80", "before": "", "state": "healthy", "reason": ""}


@pytest.mark.parametrize(
    ("published", "place", "problem", "cell"),
    [
        (True, None, "", "  healthy  "),
        (True, "healthy", "", "  healthy  "),
        (None, "UP 2/3", "", "  healthy  "),
        (False, None, "b is not reachable from outside. net.ipv4.ip_forward=0", "NOT REACHED"),
        (True, "unhealthy", "b is unhealthy in gateways (Target.Timeout).", "NOT REACHED (unhealthy)"),
        (True, "DOWN", "b is DOWN in gateways (Target.Timeout).", "NOT REACHED (DOWN)"),
        (None, None, "", "healthy, outside unknown"),
    ],
)
def test_healthy_by_itself_is_not_healthy_for_others(
    published: bool | None, place: str | None, problem: str, cell: str
) -> None:
    word = {True: "", False: "net.ipv4.ip_forward=0", None: "iptables can't be read."}[published]
    looks = {"a": look("a"), "b": look("b", published={"reachable": published, "problem": word})}
    reason = "" if place in (None, "healthy", "UP 2/3") else "Target.Timeout"
    places = {"a": {"places": [PLACE]}, "b": {"places": [{**PLACE, "state": place, "reason": reason}]}}
    said = told(looks=looks, balancer=places if place else {"a": {"skipped": True}, "b": {"skipped": True}})
    assert said["status"]["problems"] == ([problem] if problem else [])
    assert cell in said["lines"][2]
    unknown = "b: it is not known whether it is reachable from outside. iptables can't be read."
    assert (unknown in said["lines"]) is (published is None and place is None)


def test_a_load_balancer_that_says_nothing_is_told_once() -> None:
    gone = {"msg": "HAProxy at /run/x does not answer."}
    assert told(balancer={"a": gone, "b": gone})["status"]["problems"] == [
        "The load balancer did not report whether it reaches the hosts. HAProxy at /run/x does not answer."
    ]


def test_whoever_is_kept_out_gets_no_requests() -> None:
    kept = {"rollouts": [], "lock": None, "interrupted": [{**OUT, "reason": "new disk"}]}
    drained = {"places": [{**PLACE, "state": "DRAIN"}]}
    said = told(journal=kept, balancer={"a": {"places": [PLACE]}, "b": drained})
    assert said["status"]["problems"] == []
    assert "NOT REACHED" not in said["lines"][2]


def of_another_image(**changes: Any) -> dict[str, Any]:
    other = {"status": "running", "image": "r/g@sha256:old", "digest": "sha256:" + "2" * 64}
    return told(looks={"a": look("a"), "b": look("b", container=other)}, **changes)


def test_hosts_of_different_images_are_a_problem() -> None:
    assert of_another_image()["status"]["problems"] == [
        "The hosts run different images: sha256:111111111111 on a; sha256:222222222222 on b. "
        "Run rolling_update.yml with the wanted image, or rollback.yml."
    ]


@pytest.mark.parametrize(
    "journal",
    [
        {"rollouts": [], "interrupted": [], "lock": LOCK},
        {"rollouts": [], "interrupted": [{**OUT, "reason": "the idle side"}], "lock": None},
    ],
    ids=["a rollout goes on", "kept out of service"],
)
def test_different_images_that_are_meant_are_none(journal: dict[str, Any]) -> None:
    assert of_another_image(journal=journal)["status"]["problems"] == []


def test_different_images_after_a_rollout_that_broke_off_are_a_problem() -> None:
    journal = {"rollouts": [], "interrupted": [], "lock": {**LOCK, "expired": True}}
    assert any("different images" in problem for problem in of_another_image(journal=journal)["status"]["problems"])
