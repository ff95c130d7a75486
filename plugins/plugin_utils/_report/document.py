# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rollout as data, and as files. Its shape is in docs/rollout-report.schema.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .records import HostRecord, StepRecord
from .tracker import Tracker

FORMAT, VERSION = "evenkeel.fleet rollout report", 1


def document(tracker: Tracker, now: float, written_at: str) -> dict[str, Any]:
    """The tracker at a moment: what runs still lasts until `now`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": tracker.about.kind,
        "result": tracker.result,
        "changed": tracker.began_work,
        "words": list(tracker.words),
        "began_at": tracker.began_at,
        "written_at": written_at,
        "seconds": _rounded(tracker.seconds(now)),
        "rollout_id": tracker.rollout_id,
        "holder": tracker.holder,
        "reason": tracker.reason,
        "image": tracker.image,
        "digest": tracker.digest,
        "leader": tracker.name_of(tracker.leader),
        "term": tracker.term,
        "requests": tracker.requests,
        "plan": list(tracker.plan),
        "canary": tracker.verdict,
        "phases": [
            {
                "kind": phase.kind,
                "batch": phase.batch,
                "hosts": list(phase.hosts),
                "began": _rounded(phase.began),
                "seconds": _lasted(phase.began, phase.ended, now),
            }
            for phase in tracker.phases
        ],
        "fleet_steps": [_step(step, now) for step in tracker.fleet_steps],
        "hosts": [_host(host, now) for host in tracker.hosts.values()],
        "leader_changes": [
            {
                "at": _rounded(change.at),
                "kind": change.kind,
                "from": change.old,
                "to": change.new,
                "term": change.term,
                "gap": change.gap,
            }
            for change in tracker.leader_changes
        ],
        "failures": [
            {
                "at": _rounded(failure.at),
                "host": failure.host,
                "step": failure.step,
                "cause": failure.cause,
                "exit_code": failure.exit_code,
                "log": list(failure.log),
            }
            for failure in tracker.failures
        ],
    }


def _host(host: HostRecord, now: float) -> dict[str, Any]:
    seconds = host.seconds(now)
    waits = {name: _rounded(value) for name, value in host.waits.items()}
    waited = sum(host.waits.values())
    return {
        "name": host.name,
        "instance_id": host.instance_id,
        "state": host.state,
        "serves": host.serves,
        "batch": host.batch,
        "deployment": host.deployment,
        "before": host.before,
        "after": host.after,
        "seconds": None if seconds is None else _rounded(seconds),
        "waits": waits,
        "waits_seconds": _rounded(waited),
        "overhead_seconds": None if seconds is None else _rounded(max(0.0, seconds - waited)),
        "steps": [_step(step, now) for step in host.steps],
    }


def _step(step: StepRecord, now: float) -> dict[str, Any]:
    return {
        "step": step.name,
        "result": step.result,
        "began": _rounded(step.began),
        "seconds": _lasted(step.began, step.ended, now),
        "own_seconds": None if step.own is None else _rounded(step.own),
        "parts": {part: _rounded(value) for part, value in step.parts.items()},
    }


def _lasted(began: float, ended: float | None, now: float) -> float:
    return _rounded((now if ended is None else ended) - began)


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def write(folder: Path, name: str, texts: Mapping[str, str]) -> None:
    """A file for each suffix, complete at any moment: a reader finds the one of before or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in texts.items():
        target = folder / f"{name}{suffix}"
        partial = folder / f".{name}{suffix}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)


def as_text(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def where_time_went(report: Mapping[str, Any]) -> Sequence[tuple[str, str, float]]:
    """The parts of the whole time, in order: kind, words and seconds."""
    names = {
        "look": "check and pull",
        "plan": "lock and plan",
        "hand_over": "hand over",
        "put_back": "put back",
        "judge": "watch the canary",
        "switch": "switch the traffic",
        "watch": "watch the side",
    }
    return [
        (
            phase["kind"],
            f"batch {phase['batch']}"
            if phase["batch"]
            else ", ".join(phase["hosts"])
            if phase["kind"] == "deploy"
            else names.get(phase["kind"], phase["kind"]),
            phase["seconds"],
        )
        for phase in report["phases"]
    ]
