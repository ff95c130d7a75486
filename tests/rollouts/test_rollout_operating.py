# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on a serving fleet besides rollouts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.load import Watch
from tests.system.rollouts import QUICK, digest, digests, nobody_notices, order, roll

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Run


pytestmark = pytest.mark.usefixtures("left_serving")


def play(fleet: Fleet, name: str, *arguments: str, **variables: Any) -> Run:
    return fleet.start_play(f"{name}.yml", *arguments, **{**QUICK, **variables}).wait()


def status(fleet: Fleet, folder: Path) -> tuple[Run, dict[str, Any], dict[str, dict[str, Any]]]:
    """The playbook, what it wrote down, and the hosts of that by their names."""
    run = play(fleet, "status", rollout_status_file=str(folder / "status.json"), rollout_status_format="json")
    written = json.loads((folder / "status.json").read_text())
    shown, _end = json.JSONDecoder().raw_decode(run.output.partition("msg: |-")[2].lstrip())
    assert shown == written
    return run, written, {host["name"]: host for host in written["hosts"]}


@contextmanager
def somebody_else_rolls(fleet: Fleet) -> Iterator[None]:
    fleet.sql(
        "INSERT INTO fleet_rollout (holder, reason, expires_at)"
        " VALUES ('ci@runner', 'gateway 9', now() + interval '1 hour')"
    )
    yield
    assert fleet.sql("SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL") == "0", "it was not ended"


def test_a_part_of_a_rollout_is_taken_back_without_a_registry(serving: Fleet, images: tuple[str, str]) -> None:
    first, untouched, leader = order(serving)
    before = {host: serving.gateway(host)["Id"] for host in serving.hosts}
    run = roll(serving, "--limit", f"{first},{leader}", gateway_image=images[1])
    assert run.code == 0, run.output
    assert digests(serving, first, leader) == {digest(images[1])}

    serving.service("stop", "registry")
    try:
        with serving.untouched(untouched), nobody_notices(serving), Watch(serving.leaders) as watch:
            back = play(serving, "rollback")
    finally:
        serving.service("start", "registry")
    assert back.code == 0, back.output
    assert back.says(f"stay as they are: {untouched}")
    assert {host: serving.gateway(host)["Id"] for host in serving.hosts} == before, "the very containers of before"
    assert (watch.most_at_once, watch.changes) == (1, 1)

    with serving.untouched(*serving.hosts):
        again = play(serving, "rollback", "--check")
    assert again.code == 0, again.output
    assert again.says("stay as they are: host-1, host-2, host-3")


def test_nothing_is_taken_back_where_nobody_knows_what_to(serving: Fleet, images: tuple[str, str]) -> None:
    first, *_others = order(serving)
    [rollout] = serving.sql(
        f"INSERT INTO fleet_rollout (holder, reason, digest, expires_at, finished_at, result) VALUES ('ci@runner', 'x',"
        f" '{digest(images[0])}', now(), now(), 'succeeded') RETURNING id"
    ).split()[:1]
    serving.sql(
        "INSERT INTO fleet_rollout_step (rollout_id, actor, host, step, result)"
        f" VALUES ({rollout}, 'ci@runner', 'host-9', 'plan', 'succeeded')"
    )
    try:
        with serving.untouched(*serving.hosts):
            run = play(serving, "rollback", "--limit", first, rollout_undo=int(rollout))
    finally:
        serving.sql(f"DELETE FROM fleet_rollout WHERE id = {rollout}")
    assert run.code != 0
    assert run.says("Nothing was changed.", f"no earlier image of: {first}.")
    assert serving.sql("SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL") == "0"


def test_a_host_is_out_of_service_for_maintenance(serving: Fleet, images: tuple[str, str], tmp_path: Path) -> None:
    host, other, leader = order(serving)
    with nobody_notices(serving):
        drained = play(serving, "drain", "--limit", host, rollout_reason="new disk")
    assert drained.code == 0, drained.output
    assert drained.says(f"{host} is out of service.")
    assert serving.out_of_the_balancer() == [host]

    run, written, hosts = status(serving, tmp_path)
    assert run.code == 0, run.output
    assert (hosts[host]["in_service"], hosts[host]["out"]["reason"], hosts[host]["healthy"]) == (
        False,
        "new disk",
        True,
    )
    assert (written["leader"], written["lock"], hosts[other]["digest"]) == (leader, None, digest(images[0]))
    assert hosts[other]["published"] == {"reachable": True, "problem": ""}
    assert [place["state"] for place in hosts[other]["balancer"]] == ["UP"]

    with serving.untouched(*serving.hosts):
        refused = roll(serving, gateway_image=images[1])
    assert refused.code != 0
    assert refused.says(f"{host} is kept out of service by", "new disk")

    admitted = play(serving, "admit", "--limit", host)
    assert admitted.code == 0, admitted.output
    assert play(serving, "admit", "--limit", host, "--check").says("changed=1"), (
        "it has nothing to do but take the lock"
    )


def test_the_leader_stays_until_another_one_leads(serving: Fleet) -> None:
    _first, heir, leader = order(serving)
    refused = play(serving, "drain", "--limit", leader)
    assert refused.code != 0
    assert refused.says("is the leader: hand the leadership over first")
    with Watch(serving.leaders) as watch:
        run = play(serving, "handover", rollout_handover_to=heir)
    assert run.code == 0, run.output
    assert run.says(f"{heir} leads in term")
    assert serving.leaders() == [heir]
    assert (watch.most_at_once, watch.changes) == (1, 1)
    assert play(serving, "drain").says("No host is selected: pass --limit")


def test_during_a_rollout_of_somebody_else_nothing_is_done_until_it_is_ended(serving: Fleet) -> None:
    first, heir, leader = order(serving)
    held = "The fleet is locked by ci@runner"
    with somebody_else_rolls(serving):
        with serving.untouched(*serving.hosts):
            assert play(serving, "drain", "--limit", first).says(held, "gateway 9")
            assert play(serving, "handover", rollout_handover_to=heir).says(held)
        assert serving.leaders() == [leader]
        assert play(serving, "unlock").says("missing required arguments: rollout_unlock_reason")
        asked = play(serving, "unlock", "--check", rollout_unlock_reason="the runner is gone")
        assert asked.says("of ci@runner", "would be ended")
        ended = play(serving, "unlock", rollout_unlock_reason="the runner is gone")
        assert ended.code == 0, ended.output
        assert ended.says("of ci@runner, since", "gateway 9", "was ended")
    again = play(serving, "unlock", rollout_unlock_reason="the runner is gone")
    assert (again.code, again.changed()) == (0, set())
    assert again.says("No rollout held the lock.")


def test_the_status_of_a_fleet_on_a_bad_day(serving: Fleet, tmp_path: Path) -> None:
    first, second, leader = order(serving)
    serving.on(first, "systemctl stop ssh; pkill -x sshd; true")
    serving.service("stop", "db")
    serving.on(second, "docker kill bk-gateway-api")
    try:
        run, written, hosts = status(serving, tmp_path)
    finally:
        serving.on(second, "docker start bk-gateway-api")
        serving.service("start", "db")
        serving.on(first, "systemctl start ssh")
    assert run.code != 0
    assert run.says("The database did not report", f"{first} can't be queried", f"{second} is unhealthy")
    assert [hosts[name]["reachable"] for name in (first, second, leader)] == [False, True, True]
    assert (hosts[second]["container"], hosts[leader]["healthy"]) == ("exited", True)
    assert (written["database_answers"], hosts[leader]["in_service"]) == (False, None)
