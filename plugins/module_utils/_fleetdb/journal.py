# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of rollouts: who did what to which host, with what result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .._common.redact import redacted
from .errors import FleetError
from .scope import FLEET, Scope
from .times import timestamp

if TYPE_CHECKING:
    from .database import Connection

# These two say whether a host is in service. Only the code that decides it writes them.
PERMIT, ACTIVE = "permit", "active"
SERVICE = (PERMIT, ACTIVE)
PLAN, SWAP, HANDOVER, BREAK = "plan", "swap", "handover", "break"
# A service's task definition instead of a host's image.
DEPLOY = "deploy"
CHANGES = (SWAP, DEPLOY)
# The host of a step that concerns all of them.
WHOLE_FLEET = "*"
_DETAIL_CHARACTERS = 4000
# With the table of the steps.
_WRITE = (
    "INSERT INTO {} (rollout_id, at, actor, host, instance_id, digest, step, result, seconds, detail)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_READ = (
    "SELECT rollout_id, at, actor, host, instance_id, digest, step, result, seconds, detail"
    " FROM {} WHERE rollout_id = ANY (%s) ORDER BY rollout_id, id"
)


def refuse_reserved(steps: Sequence[Mapping[str, Any]]) -> None:
    taken = sorted({step["step"] for step in steps} & set(SERVICE))
    if taken:
        raise FleetError(f"steps: only instance_drain writes steps named {' or '.join(taken)}; choose another name.")


def write(
    connection: Connection,
    rollout_id: int,
    actor: str,
    now: datetime,
    steps: Sequence[Mapping[str, Any]],
    scope: Scope = FLEET,
) -> None:
    """Steps have host, step and result, and may have instance_id, digest, seconds, detail, and ago: seconds since."""
    for step in steps:
        detail = step.get("detail")
        connection.execute(
            _WRITE.format(scope.steps).encode(),
            (
                rollout_id,
                now - timedelta(seconds=max(0.0, step.get("ago") or 0.0)),
                actor,
                step["host"],
                step.get("instance_id"),
                step.get("digest"),
                step["step"],
                step["result"],
                step.get("seconds"),
                None if detail is None else redacted(detail).replace("\0", "")[-_DETAIL_CHARACTERS:],
            ),
        )


def steps_of(
    connection: Connection, rollout_ids: Sequence[int], scope: Scope = FLEET
) -> dict[int, list[dict[str, Any]]]:
    """In the order in which they were written."""
    rows = connection.execute(
        _READ.format(scope.steps).encode(),
        (list(rollout_ids),),
    ).fetchall()
    names = ("at", "actor", "host", "instance_id", "digest", "step", "result", "seconds", "detail")
    found: dict[int, list[dict[str, Any]]] = {rollout_id: [] for rollout_id in rollout_ids}
    for row in rows:
        step = dict(zip(names, row[1:]))
        found[row[0]].append({**step, "at": timestamp(step["at"])})
    return found


def hosts(steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The outcome of one rollout's steps for each host.

    `before` is the digest of its `plan` step: what it ran when the rollout began. `after` is that of its last `swap` or
    `deploy` that succeeded. `state` is `out` between permit and active, else `in`. `seconds` is the sum of its steps.
    """
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        if step["host"] == WHOLE_FLEET:
            continue
        host = found.setdefault(
            step["host"],
            {
                "instance_id": None,
                "before": None,
                "after": None,
                "step": None,
                "result": None,
                "state": "in",
                "seconds": 0.0,
            },
        )
        succeeded = step["result"] == "succeeded"
        host["instance_id"] = step.get("instance_id") or host["instance_id"]
        host["step"], host["result"] = step["step"], step["result"]
        host["seconds"] = round(host["seconds"] + (step.get("seconds") or 0.0), 3)
        if step["step"] == PLAN:
            host["before"] = host["before"] or step.get("digest")
        elif step["step"] in CHANGES and succeeded:
            host["after"] = step.get("digest") or host["after"]
        elif step["step"] in SERVICE and succeeded:
            host["state"] = "out" if step["step"] == PERMIT else "in"
    return found


@dataclass(frozen=True)
class PastRollout:
    """A rollout from the journal; `hosts` as the function of that name returns them."""

    digest: str | None
    result: str | None
    hosts: Mapping[str, Mapping[str, Any]]


def origin(host: str, rollout: PastRollout, earlier: Iterable[PastRollout]) -> str | None:
    """What a host ran before it got an image, also if an earlier, stopped rollout brought that image.

    `earlier` are the rollouts before this one, from the newest. A rollout that finishes another one finds hosts on the
    new image, or on none: the previous digest is then that before the one that it finishes. If none of them brought the
    image, another source did, and the host keeps it.
    """
    noted: str | None = (rollout.hosts.get(host) or {}).get("before")
    if noted not in (None, rollout.digest) or rollout.digest is None:
        return noted
    for one in earlier:
        part = one.hosts.get(host)
        if part is None or (part["before"] is None and part["after"] is None):
            continue  # It was not part of it, or was only drained.
        put_elsewhere = part["after"] not in (None, rollout.digest)
        if one.result == "succeeded" or put_elsewhere:
            break
        before: str | None = part["before"]
        if before not in (None, rollout.digest):
            return before if noted is None or one.digest == rollout.digest else noted
    return noted


def inherited(rollout: PastRollout, earlier: Sequence[PastRollout]) -> dict[str, str]:
    """What other hosts ran before the unfinished rollouts of this image, which this one resumes with fewer hosts."""
    found: dict[str, str] = {}
    for name in {name for one in earlier for name in one.hosts} - set(rollout.hosts):
        before = origin(name, PastRollout(rollout.digest, None, {name: {"before": rollout.digest}}), earlier)
        if before not in (None, rollout.digest):
            found[name] = before
    return found
