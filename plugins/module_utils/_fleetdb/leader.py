# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leader and the other instances: from the database or, if it can't be reached, from the gateways."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._common.http import get
from .._common.redact import redacted
from .errors import FleetError
from .fleet_queries import read
from .fleet_state import FleetState, doubts
from .times import seconds

if TYPE_CHECKING:
    from .database import Database

ABOUT = "/api/about-me"
_PARALLEL = 32


def from_database(database: Database, stale_after: float) -> dict[str, Any]:
    with database.transaction(snapshot=True) as connection:
        return described(read(connection, stale_after=stale_after))


def described(fleet: FleetState) -> dict[str, Any]:
    lease = fleet.lease
    left = seconds(lease.expires_at, fleet.now) if lease else None
    return {
        "source": "database",
        "leader": fleet.leader,
        "term": lease.term if lease else None,
        "lease_left": None if left is None else max(0.0, left),
        "instances": fleet.shown(),
        "doubts": doubts(fleet),
    }


def from_gateways(urls: Sequence[str], timeout: float) -> dict[str, Any]:
    """Query all in parallel. A URL without a path gets `/api/about-me`."""
    wrong = [url for url in urls if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname]
    if wrong:
        raise FleetError(f"urls: {', '.join(wrong)} should begin with http:// or https:// and a host.")
    with ThreadPoolExecutor(min(_PARALLEL, len(urls) or 1)) as pool:
        answers = list(pool.map(lambda url: _ask(url, timeout), urls))
    return compared(dict(zip(urls, answers)))


def _ask(url: str, timeout: float) -> Mapping[str, Any] | str:
    """The JSON that a gateway reports about itself, or why there is none."""
    address = url if urlsplit(url).path.strip("/") else url.rstrip("/") + ABOUT
    try:
        response = get(address, timeout)
        answer = response.json() if response.status == 200 else None
    except (OSError, ValueError) as error:
        return redacted(f"{getattr(error, 'strerror', None) or error}")
    if isinstance(answer, dict) and isinstance(answer.get("instanceId"), str):
        return answer
    return f"answered {response.status}: {redacted(response.text[:300].strip())}"


def compared(answers: Mapping[str, Mapping[str, Any] | str]) -> dict[str, Any]:
    """The same result as from the database; None for what only the database has."""
    found = [f"{url} is not usable: {answer}" for url, answer in answers.items() if isinstance(answer, str)]
    telling = [answer for answer in answers.values() if not isinstance(answer, str)]
    told = {str(one["instanceId"]): one for one in telling}
    leaders = sorted({str(one["instanceId"]) for one in telling if one.get("amILeader") is True})
    leader = leaders[0] if len(leaders) == 1 else None
    if len(leaders) > 1:
        found.append(f"{' and '.join(leaders)} all say that they are the leader")
    elif leader is None:
        found.append("no gateway says that it is the leader")
    terms = {one["term"] for one in told.values() if one.get("term") is not None}
    if len(terms) > 1:
        found.append(f"the gateways are in different terms: {', '.join(map(str, sorted(terms)))}")
    others = {name: one["leader"] for name, one in told.items() if one.get("leader") is not None}
    found += [
        f"{name} says that {other} is the leader" for name, other in sorted(others.items()) if other not in leaders
    ]
    ordered = sorted(told.items(), key=lambda item: (item[1].get("launchedAt") or "", item[0]))
    return {
        "source": "http",
        "leader": leader,
        "term": max(terms, default=None),
        "lease_left": None,
        "instances": [
            {
                "instance_id": name,
                "private_ip": one.get("privateIp"),
                "public_ip": one.get("publicIp"),
                "launched_at": one.get("launchedAt"),
                "version": one.get("version"),
                "heartbeat_age": None,
                "draining_since": None,
                "fresh": True,
                "leads": name == leader,
                "in_service": None,
            }
            for name, one in ordered
        ],
        "doubts": found,
    }


def settled(look: Any, wait: float) -> dict[str, Any]:
    """Query again while there are doubts, up to `wait` seconds: an election takes less."""
    deadline = time.monotonic() + wait
    while True:
        result: dict[str, Any] = look()
        if not result["doubts"] or time.monotonic() >= deadline:
            return result
        time.sleep(min(0.3, max(0.0, deadline - time.monotonic())))


def refuse_doubts(result: Mapping[str, Any]) -> None:
    if result["doubts"]:
        raise FleetError(f"The leader is in doubt: {'; '.join(result['doubts'])}.", **result)
