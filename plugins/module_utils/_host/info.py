# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is and how its service does: one look, which waits for nothing and changes nothing."""

from __future__ import annotations

import time
from typing import Any

from .containers import digest, image_of
from .docker import Docker
from .gate import about, ask, last_answer
from .host import Host, HostError, Spec
from .http import Response
from .vitals import restart_count


def look(options: Spec) -> dict[str, Any]:
    """As the options of the module container_info say; what can't be seen is None, and `engine_error` says why."""
    docker = Docker(Host(), None)
    found: dict[str, Any] = {"container": None, "previous": None, "engine_error": None, "health": None, "about": None}
    try:
        docker.await_answer(0)
        found["container"] = _container(docker, options["name"])
        found["previous"] = _container(docker, f"{options['name']}-previous")
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


def _health(options: Spec) -> dict[str, Any]:
    started = time.monotonic()
    answer = ask(options["url"], options["request_timeout"])
    seconds = round(time.monotonic() - started, 4)
    healthy = isinstance(answer, Response) and answer.status == 200
    return {"healthy": healthy, "seconds": seconds, "problem": "" if healthy else last_answer(options["url"], answer)}
