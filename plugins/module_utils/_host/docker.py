# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine's API on its socket: a few milliseconds where the command line costs fifty."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote, urlencode

from .._common.http import Response, unix_request
from .host import Host, HostError
from .units import Units

SOCKET = "/run/docker.sock"
UNIT = "docker.service"


class DockerError(HostError):
    """The engine refused a request."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Docker:
    """The engine of one host."""

    def __init__(self, host: Host, units: Units | None) -> None:
        self.host = host
        self.units = units

    def expected(self) -> bool:
        """Whether to ask the engine at all. It may be absent in check mode only, where a declared unit may start it.

        A connection to a socket-activated engine starts it, which check mode must not do.
        """
        return not self.host.check_mode or self.units is None or self.units.state(UNIT).active

    def await_answer(self, seconds: float) -> None:
        """Wait for an engine that restarts."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.request("GET", "/_ping", timeout=5)
            except HostError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def request(self, method: str, path: str, body: Any = None, timeout: float = 60, **query: Any) -> Response:
        target = path + (f"?{urlencode(query)}" if query else "")
        try:
            return unix_request(SOCKET, method, target, body, timeout)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise HostError(
                f"No Docker engine answers on {SOCKET} ({error.strerror}): start it, or declare it (role docker)."
            ) from error
        except PermissionError as error:
            raise HostError(f"{SOCKET} may not be used by this user: run this as root (become: true).") from error
        except OSError as error:
            raise HostError(f"The Docker engine did not answer {method} {path}: {error}.") from error

    def get(self, path: str, **query: Any) -> Any:
        """The answer's JSON, or None where there is no such thing."""
        if not self.expected():
            return None
        response = self.request("GET", path, **query)
        return None if response.status == 404 else _accepted("GET", path, response).json()

    def post(self, path: str, body: Any = None, timeout: float = 60, **query: Any) -> Any:
        return _accepted("POST", path, self.request("POST", path, body, timeout, **query)).json()

    def delete(self, path: str, **query: Any) -> None:
        response = self.request("DELETE", path, **query)
        if response.status != 404:
            _accepted("DELETE", path, response)

    def info(self) -> dict[str, Any]:
        return self.get("/info") or {}

    def container(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.get(f"/containers/{quote(name)}/json")
        # The engine also answers to the start of an id; only the name counts here.
        return found if found and (found["Name"] == f"/{name}" or found["Id"] == name) else None

    def image(self, reference: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.get(f"/images/{quote(reference, safe='/:@')}/json")
        return found

    def network(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.get(f"/networks/{quote(name)}")
        return found if found and found["Name"] == name else None

    def running(self) -> list[str]:
        return sorted(container_name(entry) for entry in self.get("/containers/json") or [])


def container_name(entry: dict[str, Any]) -> str:
    """The name in an entry of the list of containers."""
    return str((entry.get("Names") or [entry["Id"][:12]])[0]).lstrip("/")


def _accepted(method: str, path: str, response: Response) -> Response:
    if response.status < 400:
        return response
    try:
        message = str(response.json()["message"]).strip()
    except (ValueError, KeyError, TypeError):
        message = response.text.strip()
    raise DockerError(f"Docker refused {method} {path}: {message}", response.status)
