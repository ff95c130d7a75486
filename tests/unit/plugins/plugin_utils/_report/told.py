# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts for tests: recordings of real ones, and a constructed one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.tracker import Tracker

BEGAN = "2026-11-21T15:09:38+00:00"
Event = Sequence[Any]


def recording(name: str) -> list[Event]:
    """What the callback heard, in order: starts or ends, when, and the arguments."""
    lines = (Path(__file__).parent / "recordings" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def told(events: Sequence[Event], *, finish: str | None = "") -> Tracker:
    """finish is None for a tracker that goes on."""
    tracker = Tracker(BEGAN)
    at = 0.0
    for kind, at, *arguments in events:
        if kind == "starts":
            tracker.starts(at, *arguments)
        else:
            tracker.ends(at, *arguments[:-1], whole=arguments[-1])
    if finish is not None:
        tracker.finish(at, finish)
    return tracker


def step(
    at: float, host: str, action: str, state: str, result: dict[str, Any], status: str = "ok", seconds: float = 1.0
) -> list[Event]:
    return [("starts", at, host, action, state), ("ends", at + seconds, host, action, state, status, result, False)]


def facts(at: float, **values: Any) -> list[Event]:
    return [("ends", at, "a", "set_fact", "", "ok", {"ansible_facts": values}, True)]


def begun(*hosts: str, at: float = 0.0) -> list[Event]:
    """A rollout that has its plan: one host at a time."""
    looks = [
        event
        for host in hosts
        for event in step(at, host, "container_swap", "pulled", {"outcome": "unchanged", "seconds": {"total": 0.1}})
    ]
    lock = {"rollout_id": 7, "lock": {"holder": "ci@runner", "reason": "why", "digest": "sha256:new"}}
    about = {
        "image": "registry/gateway@sha256:new",
        "fleet": {host: f"i-{host}" for host in hosts},
        "plan": [f"update {host}" for host in hosts],
        "batches": [[host] for host in hosts],
    }
    return [
        *looks,
        *step(at + 1, hosts[0], "rollout_lock", "acquired", lock),
        *facts(
            at + 2, rollout_about={**about, "plan": [f"update {h}" for h in hosts], "batches": [[h] for h in hosts]}
        ),
    ]


def update(host: str, at: float, swap: dict[str, Any], status: str = "ok") -> list[Event]:
    return [
        *facts(at, rollout_step={"kind": "update", "hosts": [host]}),
        *step(at, host, "instance_drain", "drained", {"waited": 0.0, "instance_id": f"i-{host}"}),
        *step(at + 1, host, "container_swap", "", swap, status, seconds=5.0),
    ]
