# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a playbook that runs, is interrupted or is killed, on a real PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.integration.fleetdb.fleets import Fleet
from tests.integration.support import CHECKOUT, await_true, environment

TTL = 3
OPEN = "SELECT expires_at > clock_timestamp() FROM fleet_rollout WHERE finished_at IS NULL"
RESULT = "SELECT result, (SELECT detail FROM fleet_rollout_step WHERE step = 'end') FROM fleet_rollout"
PASSWORD = "hunter2-of-the-database"
KEEPERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'evenkeel rollout_lock'"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def play(fleet: Fleet, tmp_path: Path) -> Start:
    """A playbook that takes the lock, is busy for so many seconds, and may release it."""

    def start(busy: float, *, release: bool = False, scope: str = "fleet") -> subprocess.Popen[str]:
        lock = {"database": {"conninfo": fleet.conninfo, "password": PASSWORD}, "ttl": TTL, "scope": scope}
        acquire = {**lock, "state": "acquired", "reason": "test", "keep": True}
        end = {**lock, "state": "released", "result": "succeeded", "rollout_id": "{{ taken.rollout_id }}"}
        tasks = [
            {"evenkeel.fleet.rollout_lock": acquire, "register": "taken"},
            {"ansible.builtin.assert": {"that": "taken.kept"}},
            {"ansible.builtin.command": f"sleep {busy}"},
            *([{"evenkeel.fleet.rollout_lock": end}] if release else []),
        ]
        path = tmp_path / "play.yml"
        path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        program = Path(sys.executable).parent / "ansible-playbook"
        return subprocess.Popen(
            [program, path], cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    fleet.populate(2)
    return start


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=30)


def is_held(fleet: Fleet) -> bool:
    with suppress(psycopg.errors.UndefinedTable):
        return fleet.query(OPEN) == [(True,)]
    return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_playbook_that_is_ended_gives_the_lock_back(fleet: Fleet, play: Start, how: signal.Signals) -> None:
    with running(play(300)) as process:
        await_true(lambda: is_held(fleet), "the playbook has the lock")
        until = time.monotonic() + 2 * TTL
        while time.monotonic() < until:
            assert is_held(fleet), "it is renewed while the playbook is busy"
            time.sleep(0.2)
        assert not holding_the_password(), "no command line and no environment has it"
        process.send_signal(how)
        await_true(lambda: fleet.query(OPEN) == [], "the lock is free")
    [(result, detail)] = fleet.query(RESULT)
    assert result == "failed"
    assert "ended before the rollout did" in detail
    assert fleet.acquire()["took_over"] is None


def test_a_killed_deployment_gives_its_own_lock_back(fleet: Fleet, play: Start) -> None:
    rollout = fleet.acquire()["rollout_id"]
    held = "SELECT scope FROM scoped_rollout WHERE finished_at IS NULL AND expires_at > clock_timestamp()"
    with running(play(300, scope="ecs/production/permissions")) as process:
        await_true(lambda: fleet.query(held) == [("ecs/production/permissions",)], "the playbook has the lock")
        process.kill()
        await_true(lambda: fleet.query(held) == [], "the lock is free")
    told = "SELECT deployment.result, detail FROM scoped_rollout deployment, scoped_rollout_step"
    [(result, detail)] = fleet.query(told)
    assert (result, "ended before the deployment did" in detail) == ("failed", True)
    fleet.renew(rollout)


def holding_the_password() -> list[str]:
    found = []
    for place in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        with suppress(OSError):
            if PASSWORD.encode() in place.read_bytes():
                found.append(str(place))
    return found


def test_a_playbook_that_ends_leaves_nothing_in_the_background(fleet: Fleet, play: Start) -> None:
    with running(play(1, release=True)) as process:
        said, _errors = process.communicate(timeout=60)
    assert process.returncode == 0, said
    time.sleep(TTL)
    assert fleet.query("SELECT result FROM fleet_rollout") == [("succeeded",)]
    assert fleet.query(KEEPERS) == [(0,)]


def test_a_playbook_that_is_stopped_does_not_hold_the_lock(fleet: Fleet, play: Start) -> None:
    with running(play(300)) as process:
        await_true(lambda: is_held(fleet), "the playbook has the lock")
        process.send_signal(signal.SIGSTOP)
        try:
            await_true(lambda: not is_held(fleet), "the lock has expired")
            assert fleet.acquire()["took_over"]["holder"]
        finally:
            process.send_signal(signal.SIGCONT)
    assert fleet.query("SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL") == [(1,)], (
        "it is the other one's"
    )
