# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a fleet from its hosts, the database and the journal; also if some of them do not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1
_SHORT_DIGEST = len("sha256:") + 12
# The digits of a timestamp that are shown.
_SECONDS = len("2026-01-01T00:00:00")

# The states in a target group and in HAProxy of a target that gets requests.
_GETS_REQUESTS = ("healthy", "up", "no check")

Report = Mapping[str, Any]


def status_of(
    hosts: Mapping[str, str],
    looks: Mapping[str, Report],
    leader: Report,
    journal: Report,
    balancer: Mapping[str, Report] | None = None,
) -> dict[str, Any]:
    """The status of a fleet, in the shape of its JSON.

    hosts: instance id by name, of the whole fleet. looks: the results of container_info, of the queried hosts.
    leader, journal: the results of leader_info and rollout_info. balancer: those of target_info, of the
    hosts that have a load balancer in front. A failed one has `msg` only.

    `problems` has a sentence for each thing that the operator should check. A host that is kept out of service on
    purpose, or that a running rollout works on, is none. What is not known is None.
    """
    answers = "instances" in leader and "rollouts" in journal
    known = {str(one["instance_id"]): one for one in leader.get("instances") or ()}
    out = {str(one["instance_id"]): one for one in journal.get("interrupted") or ()}
    lock = journal.get("lock")
    balanced = {name: report for name, report in (balancer or {}).items() if not report.get("skipped")}
    shown = [
        _host(name, identity, looks.get(name), balanced.get(name), known.get(identity), out.get(identity), lock)
        for name, identity in hosts.items()
    ]
    leaders = [host["name"] for host in shown if host["leads"]]
    strangers = sorted(set(known) - set(hosts.values()))
    problems = [
        *_troubles_of_the_database(leader, journal),
        *_troubles_of_the_balancer(balanced),
        *(problem for host in shown for problem in host.pop("problems")),
        *_different_images(shown, lock),
        *(f"{identity} is in the database but not in the inventory." for identity in strangers),
    ]
    if "instances" not in leader and len(leaders) != 1:
        problems.append(f"The leader is in doubt: {' and '.join(leaders) or 'no hosts'} say that they lead.")
    return {
        "schema": SCHEMA,
        "problems": problems,
        "database_answers": answers,
        "leader": leaders[0] if len(leaders) == 1 else None,
        "term": leader.get("term"),
        "hosts": shown,
        "lock": lock,
        "rollouts": [_rollout(one) for one in journal.get("rollouts") or ()],
    }


def _host(
    name: str,
    identity: str,
    look: Report | None,
    balanced: Report | None,
    instance: Report | None,
    out: Report | None,
    lock: Report | None,
) -> dict[str, Any]:
    reached = look is not None and "health" in look
    seen: Report = look if look is not None and reached else {}
    container = seen.get("container") or {}
    health = seen.get("health") or {}
    about = seen.get("about") or {}
    says_it_leads = about.get("amILeader")
    host = {
        "name": name,
        "instance_id": identity,
        "reachable": None if look is None else reached,
        "container": container.get("status"),
        "image": container.get("image"),
        "digest": container.get("digest"),
        "previous_digest": (seen.get("previous") or {}).get("digest"),
        "started_at": container.get("started_at"),
        "version": about.get("version") or (instance or {}).get("version"),
        "healthy": health.get("healthy"),
        "published": seen.get("published"),
        "balancer": (balanced or {}).get("places"),
        "in_service": None if instance is None else bool(instance.get("in_service")),
        "out": dict(out) if out else None,
        "leads": bool(instance.get("leads")) if instance else says_it_leads,
        "heartbeat_age": (instance or {}).get("heartbeat_age"),
    }
    in_work = (
        lock is not None and not lock.get("expired") and out is not None and out["rollout_id"] == lock["rollout_id"]
    )
    kept_out = out is not None and out.get("reason") is not None
    host["problems"] = [] if in_work or kept_out else _troubles_of(host, look or {}, instance, out)
    return host


def _troubles_of(host: Report, look: Report, instance: Report | None, out: Report | None) -> list[str]:
    name, identity = host["name"], host["instance_id"]
    about = look.get("about") or {}
    if host["reachable"] is False:
        return [f"{name} can't be queried: {look.get('msg') or 'no answer'}".rstrip(".") + "."]
    found = []
    if look.get("engine_error"):
        found.append(f"{name}: {look['engine_error']}")
    elif look and host["container"] is None:
        found.append(f"{name} has no gateway container.")
    if host["healthy"] is False:
        found.append(f"{name} is unhealthy. {look['health']['problem']}")
    published = host["published"] or {}
    if published.get("reachable") is False:
        found.append(f"{name} is not reachable from outside. {published['problem']}")
    if out is None and not (instance or {}).get("draining_since"):
        found += [
            f"{name} is {place['state']} in {place['balancer']}"
            + (f" ({place['reason']})." if place["reason"] else ".")
            for place in _places_without_requests(host)
        ]
    if about.get("instanceId") not in (None, identity):
        found.append(f"{name} reports the instance id {about['instanceId']}, but the inventory has {identity}.")
    if out is not None:
        found.append(f"{name} was left out of service by rollout {out['rollout_id']}: run it again, or admit the host.")
    elif instance is not None and instance.get("draining_since"):
        found.append(f"{name} is marked as draining since {instance['draining_since']}.")
    elif instance is not None and not instance.get("fresh"):
        found.append(f"{name} has no fresh heartbeat in the database.")
    return found


def _places_without_requests(host: Report) -> list[Report]:
    """Where the load balancer has the host and sends nothing to it."""
    return [place for place in host["balancer"] or () if not place["state"].lower().startswith(_GETS_REQUESTS)]


def _troubles_of_the_balancer(balanced: Mapping[str, Report]) -> list[str]:
    silent = sorted({str(report.get("msg") or "") for report in balanced.values() if not report.get("places")})
    return [f"The load balancer did not report whether it reaches the hosts. {message}".rstrip() for message in silent]


def _different_images(hosts: Sequence[Report], lock: Report | None) -> list[str]:
    """Hosts that are kept out of service, such as the idle side, may run another image; so may all in a rollout."""
    if lock is not None and not lock.get("expired"):
        return []
    found: dict[str, list[str]] = {}
    for host in hosts:
        if host["digest"] and not (host["out"] or {}).get("reason"):
            found.setdefault(host["digest"], []).append(host["name"])
    if len(found) < 2:
        return []
    told = "; ".join(f"{digest[:_SHORT_DIGEST]} on {', '.join(names)}" for digest, names in found.items())
    return [f"The hosts run different images: {told}. Run rolling_update.yml with the wanted image, or rollback.yml."]


def _troubles_of_the_database(leader: Report, journal: Report) -> list[str]:
    silent = [report for report, answer in ((leader, "instances"), (journal, "rollouts")) if answer not in report]
    found = (
        [f"The database did not report the state of the fleet. {silent[0].get('msg') or ''}".rstrip()] if silent else []
    )
    found += [f"The leader is in doubt: {doubt}." for doubt in leader.get("doubts") or ()]
    lock = journal.get("lock")
    if lock and lock.get("expired"):
        found.append(
            f"The lock of {lock['holder']} (rollout {lock['rollout_id']}: {lock['reason']}) has expired: "
            "the rollout was interrupted. Run it again."
        )
    return found


def _rollout(rollout: Report) -> dict[str, Any]:
    failures = [
        {key: step.get(key) for key in ("host", "step", "detail")}
        for step in rollout.get("steps") or ()
        if step["result"] == "failed"
    ]
    summary = {key: value for key, value in rollout.items() if key not in ("steps", "hosts", "inherited")}
    return {**summary, "failures": failures}


def rows(status: Report) -> list[list[str]]:
    """The rows of the table of hosts, with its header."""
    head = ["host", "instance", "image", "version", "health", "in service", "leader", "heartbeat"]
    return [head, *(_row(host) for host in status["hosts"])]


def _row(host: Report) -> list[str]:
    age = host["heartbeat_age"]
    return [
        host["name"],
        host["instance_id"],
        (host["digest"] or host["image"] or "-")[:_SHORT_DIGEST],
        host["version"] or "-",
        _health(host),
        _service(host),
        "leader" if host["leads"] else "-",
        "-" if age is None else f"{age:.1f}s",
    ]


def _health(host: Report) -> str:
    if host["reachable"] is None:
        return "not asked"
    if not host["reachable"]:
        return "UNREACHABLE"
    if host["healthy"]:
        return _seen_from_outside(host)
    return "UNHEALTHY" if host["container"] == "running" else f"UNHEALTHY ({host['container'] or 'no container'})"


def _seen_from_outside(host: Report) -> str:
    """The state of a healthy host as clients reach it."""
    reachable = (host["published"] or {}).get("reachable")
    refused = [] if host["out"] else _places_without_requests(host)
    if reachable is False:
        return "NOT REACHED"
    if refused:
        return f"NOT REACHED ({refused[0]['state']})"
    return "healthy" if reachable or host["balancer"] else "healthy, outside unknown"


def _service(host: Report) -> str:
    out = host["out"]
    if out:
        return "kept-out" if out.get("reason") is not None else "out"
    return {None: "unknown", True: "yes", False: "NO"}[host["in_service"]]


def words(status: Report) -> list[str]:
    """Further lines: hosts that are kept out of service, the lock, the last rollouts."""
    kept_out = [(host["name"], host["out"]) for host in status["hosts"] if host["out"] and host["out"].get("reason")]
    lines = [
        f"{name} is kept out of service by {out['by']} since {_moment(out)}: {out['reason']}" for name, out in kept_out
    ]
    lines += [
        f"{host['name']}: it is not known whether it is reachable from outside. {host['published']['problem']}"
        for host in status["hosts"]
        if host["published"] and host["published"]["reachable"] is None and not host["balancer"]
    ]
    lock = status["lock"]
    if not status["database_answers"]:
        lines.append("lock: unknown")
    elif lock:
        left = "expired" if lock["expired"] else f"for {lock['expires_in']:.0f} s unless renewed"
        lines.append(
            f"lock: {lock['holder']} since {_moment(lock)}, {left} (rollout {lock['rollout_id']}: {lock['reason']})"
        )
    else:
        lines.append("lock: free")
    for one in status["rollouts"]:
        ended = f"{one['result'] or 'still running'} after {one['seconds']:.0f} s"
        who = f"since {_moment(one)}, by {one['holder']}: {one['reason']}"
        lines.append(f"rollout {one['rollout_id']}: {ended}, {who}")
        lines += [
            f"  {failure['host']}, {failure['step']}: {failure['detail'] or 'failed'}" for failure in one["failures"]
        ]
    return lines


def _moment(entry: Report) -> str:
    return str(entry["since"])[:_SECONDS]
