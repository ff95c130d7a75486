# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared parts of the rollout tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.fleet import wait_until
from tests.system.load import Clients

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Process, Run

BEHIND_IT: dict[str, Any] = {"rollout_lb": "target_group", "rollout_target_groups": ["gateways"]}
HOOKS = Path(__file__).parent / "hooks"
# As short as the fleet allows: the gateways here are up within two seconds, and the load balancer asks each second.
QUICK: dict[str, Any] = {"rollout_bake_seconds": 2, "rollout_max_unavailable": 1, "rollout_permit_wait": 10}
# For those that are killed: soon free again.
LOCK = {"rollout_lock_ttl": 15}


def start(fleet: Fleet, *arguments: str, **variables: Any) -> Process:
    return fleet.start_play("rolling_update.yml", *arguments, **{**QUICK, **variables})


def reports(fleet: Fleet) -> list[dict[str, Any]]:
    """The reports of all its rollouts since this was called last."""
    files = sorted(fleet.reports.glob("*.json"))
    found = [json.loads(file.read_text()) for file in files]
    shutil.rmtree(fleet.reports, ignore_errors=True)
    return found


def roll(fleet: Fleet, *arguments: str, **variables: Any) -> Run:
    return start(fleet, *arguments, **variables).wait()


def hooks(moment: str, name: str, **happens: Any) -> dict[str, Any]:
    """Variables of a rollout in which something happens at a moment; see hooks/."""
    return {"rollout_hooks": {moment: [str(HOOKS / name)]}, **happens}


def last_words(output: str) -> str:
    """How far a rollout came that was killed."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "nothing")


def order(fleet: Fleet) -> list[str]:
    """The hosts as a rollout takes them: the leader last."""
    (leader,) = fleet.leaders()
    return [host for host in fleet.hosts if host != leader] + [leader]


def digests(fleet: Fleet, *hosts: str) -> set[str]:
    """What these hosts run, or all."""
    return {fleet.gateway(host)["Config"]["Image"].partition("@")[2] for host in hosts or fleet.hosts}


def digest(image: str) -> str:
    return image.partition("@")[2]


def never_seen(fleet: Fleet, name: str, size: int) -> str:
    """An image in the registry that no host has anything of, made of so many bytes."""
    host = fleet.hosts[1]
    image = f"{fleet.variables['ecr_registry']}/system/{name}:1"
    make = f"head -c {size} /dev/urandom > /run/{name} && tar -C /run -c {name} | docker import - {image}"
    fleet.on(host, f"{make} && docker push {image} && docker rmi {image} && rm /run/{name}")
    return image


@contextmanager
def nobody_notices(fleet: Fleet, rate: float = 60) -> Iterator[Clients]:
    """Clients all the while, of whom none sees anything fail."""
    with Clients(fleet.facts["load_balancer"]["url"], rate=rate) as clients:
        yield clients
        # What is short on a busy machine may be over before there was load enough to tell.
        wait_until(lambda: bool(clients.failures) or clients.answered > rate, "there was load")
    assert not clients.failures, clients.failures[:5]
