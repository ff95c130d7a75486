# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separate gate: it changes nothing and only checks whether a service is and stays healthy."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from .container_state import fatal_state, log_excerpt, log_lines, restart_count
from .docker import Docker
from .gate import Gate
from .host import Host, HostError, Spec
from .published_ports import check_reachability, outside_url


def pass_gate(options: Spec) -> tuple[dict[str, Any], str]:
    """Check by the options of the module health_gate. Returns the report, and why it failed, or ""."""
    spec = {**options, "version": options.get("wanted_version"), "instance": options.get("wanted_instance")}
    host = Host()
    docker = Docker(host, None)
    name = options.get("container")
    began = time.monotonic()
    report: dict[str, Any] = {}
    problem = ""
    gate = Gate(spec)
    watched = ""
    try:
        _check(options)
        if name:
            found = docker.container(name)
            if found is None:
                raise HostError(f"There is no container {name} on this host.")
            # By id: a container that replaces it meanwhile is not checked in its place.
            watched, restarts = found["Id"], restart_count(found)
            gate.fatal = lambda: fatal_state(docker, watched, restarts)
            spec["published_url"] = outside_url(found, options["url"])
            reach = check_reachability(host, docker, [found])
            if reach.reachable is False:
                raise HostError(f"Its published ports are not reached from outside. {reach.words}")
        gate.wait(options["successes"])
        if options.get("hold"):
            gate.hold(options["hold"], options.get("tolerate") or 0)
    except HostError as error:
        problem = f"The container {name} isn't healthy. {error.message}" if watched else error.message
        if watched:
            report["log"] = _log(docker, watched)
            problem += log_excerpt(report["log"])
    report.update(gate.report(), seconds=round(time.monotonic() - began, 3))
    return report, problem


def _check(options: Spec) -> None:
    for key in ("url", "about_url", "aggregate_url"):
        parts = urlsplit(options.get(key) or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HostError(f"{key} isn't a URL such as http://127.0.0.1/api/health: {options[key]}")
    for key in ("successes", "timeout", "interval", "request_timeout"):
        if options[key] <= 0:
            raise HostError(f"{key} has to be more than 0.")


def _log(docker: Docker, container: str) -> list[str]:
    try:
        return log_lines(docker, container)
    except HostError:
        return []
