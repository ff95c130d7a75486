# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks on an Auto Scaling group whose instances are real elections."""

from __future__ import annotations

import itertools
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from evenkeel_gateway.lease import Timing
from support.instances import Process, assert_never_two

from tests.integration.aws.asg import Group, Scaled, scaled
from tests.integration.endpoint import REGION
from tests.integration.fleetdb.fleets import Fleet
from tests.integration.support import CHECKOUT, await_true, environment
from tests.warm import Playbook

_numbers = itertools.count(1)
PROGRAM = Path(sys.executable).parent / "ansible-playbook"


@contextmanager
def elections_as_instances() -> Iterator[Scaled]:
    """An endpoint whose instances are i-1, i-2 and so on: an election's process is told the number of its instance."""
    endpoint, refreshes = scaled()
    with endpoint, mock.patch("moto.ec2.models.instances.random_instance_id", lambda: f"i-{next(_numbers)}"):
        yield Scaled(endpoint, refreshes)


def way_to(aws: Scaled) -> dict[str, str]:
    return {"region": REGION, "endpoint_url": aws.endpoint.url, "access_key": "AKIATEST", "secret_key": "secret"}


# Slower than in other tests: playbooks run beside.
CALM = Timing(ttl=6.0, margin=1.0, tick=1.0, stale=6.0)


class Machines:
    """The gateways of a group: each instance that is launched begins to take part, each that is terminated resigns."""

    def __init__(self, group: Group, fleet: Fleet, folder: Path) -> None:
        self._group = group
        self._fleet = fleet
        self._folder = folder
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow)
        self.running: dict[str, Process] = {}
        self.all: list[Process] = []
        self.gone: list[str] = []
        # No instance is started any more.
        self.dead = False

    def __enter__(self) -> Machines:
        for name in sorted(self._group.versions, key=lambda name: int(name[2:])):
            self._begin(name).started()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        for process in self.all:
            process.__exit__()
        assert_never_two(*(process.record for process in self.all))

    def kill(self) -> None:
        with self._lock:
            self.dead = True
            for process in self.running.values():
                process.signal(signal.SIGKILL)

    def _begin(self, name: str) -> Process:
        self.running[name] = Process(self._fleet.conninfo, int(name[2:]), self._folder, CALM)
        self.all.append(self.running[name])
        return self.running[name]

    def _follow(self) -> None:
        while not self._over.wait(0.3):
            there = set(self._group.versions)
            with self._lock:
                for name in there - set(self.running):
                    if not self.dead:
                        self._begin(name)
                for name in set(self.running) - there:
                    self.gone.append(name)
                    if not self.dead:
                        self.running[name].signal(signal.SIGTERM)
                    del self.running[name]


class Run:
    """A playbook, as an operator runs it."""

    def __init__(self, playbook: str, inventory: str | Path, variables: dict[str, Any], *options: str) -> None:
        words = ["-i", str(inventory), f"playbooks/{playbook}.yml", "-e", json.dumps(variables), *options]
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = Playbook(words, CHECKOUT, environment(ANSIBLE_NOCOLOR="1"), self._output)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Until that is so, while it runs."""

        def so() -> object:
            assert self.process.poll() is None, f"ended before {what}: {self._said()}"
            return condition()

        await_true(so, what, timeout=90)

    def ended(self, code: int = 0) -> str:
        """What it said, in one line."""
        found = self.process.wait(180)
        said = self._said()
        assert found == code, said
        return said

    def _said(self) -> str:
        self._output.seek(0)
        return " ".join(self._output.read().split())


def leader(fleet: Fleet) -> tuple[str, int]:
    [(name, term)] = fleet.query("SELECT holder, term FROM leader_lease")
    return str(name), int(term)


def results(fleet: Fleet) -> list[str | None]:
    return [row[0] for row in fleet.query("SELECT result FROM fleet_rollout ORDER BY id")]
