# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands for operators on the host: a unix socket that HAProxy does not expose."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

SOCKET = "admin.sock"
COMMANDS = {
    "drain": "answer /api/health with 503 and all requests with Connection: close; requests are still served",
    "undrain": "end draining",
    "reload": "read the configuration and the secrets again, as SIGHUP does",
    "status": "print the status, its reasons, and the requests in flight",
}
ASK_SECONDS = 60.0

Answer = dict[str, Any]


def application(commands: dict[str, Callable[[], Awaitable[Answer]]]) -> Starlette:
    """Each command returns a document; one with an `error` has failed."""

    def endpoint(command: Callable[[], Awaitable[Answer]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            document = await command()
            return JSONResponse(document, 409 if document.get("error") else 200)

        return answer

    return Starlette(
        routes=[Endpoint(f"/{name}", endpoint(command), methods=["POST"]) for name, command in commands.items()]
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("gateway", timeout=ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(runtime_dir: str, command: str) -> tuple[bool, Answer]:
    """Return whether the command succeeded, and its answer; raises OSError where no gateway runs."""
    with closing(_UnixConnection(Path(runtime_dir) / SOCKET)) as connection:
        connection.request("POST", f"/{command}")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK, json.loads(answer.read())
