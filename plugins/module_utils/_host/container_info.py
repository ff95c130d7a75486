# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State and health of a container and its service: queried once, without waiting or changes."""

from __future__ import annotations

import time
from typing import Any

from .container_state import digest, image_of, restart_count
from .docker import Docker
from .gate import about, ask, is_good, last_answer
from .host import Host, HostError, Spec
from .published_ports import check_reachability, outside_url


def container_info(options: Spec) -> dict[str, Any]:
    """See the options of the module container_info. Unknown values are None, and `engine_error` says why."""
    host = Host()
    docker = Docker(host, None)
    found: dict[str, Any] = dict.fromkeys(("container", "previous", "published", "engine_error", "health", "about"))
    try:
        docker.await_answer(0)
        found["container"] = _container(docker, options["name"])
        found["previous"] = _container(docker, f"{options['name']}-previous")
        found["published"] = _published(host, docker, options)
    except HostError as error:
        found["engine_error"] = error.message
    if options.get("url"):
        found["health"] = _health(options)
    if options.get("about_url"):
        found["about"] = about(options["about_url"], options["request_timeout"])
    return found


def _container(docker: Docker, name: str) -> dict[str, Any] | None:
    container = docker.container(name)
    if container is None:
        return None
    state = container["State"]
    image = image_of(container)
    return {
        "id": container["Id"],
        "image": image,
        "digest": digest(image, docker.image(container["Image"])),
        "status": state["Status"],
        "started_at": state["StartedAt"],
        "exit_code": None if state["Running"] else state["ExitCode"],
        "restarts": restart_count(container),
    }


def _published(host: Host, docker: Docker, options: Spec) -> dict[str, Any] | None:
    """Whether it is reachable from outside; `reachable` is None if that can't be determined on this host."""
    container = docker.container(options["name"])
    if container is None or not container["State"]["Running"]:
        return None
    reach = check_reachability(host, docker, [container])
    url = outside_url(container, options["url"]) if options.get("url") else ""
    if url:
        answer = ask(url, options["request_timeout"])
        if not is_good(answer):
            reach.problems.append(last_answer(url, answer))
    return {"reachable": reach.reachable, "problem": reach.words}


def _health(options: Spec) -> dict[str, Any]:
    started = time.monotonic()
    answer = ask(options["url"], options["request_timeout"])
    seconds = round(time.monotonic() - started, 4)
    healthy = is_good(answer)
    return {"healthy": healthy, "seconds": seconds, "problem": "" if healthy else last_answer(options["url"], answer)}
