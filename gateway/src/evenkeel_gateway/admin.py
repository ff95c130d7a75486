# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator on the host may ask of a running gateway: a socket of its own, which HAProxy does not know."""

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
    "drain": "/api/health says 503 and answers say Connection: close, so that no more work comes; what comes is served",
    "undrain": "take work again",
    "reload": "read the configuration and the secrets anew, as SIGHUP does",
    "status": "what it is able to do",
}
ASK_SECONDS = 60.0

Answer = dict[str, Any]


def application(commands: dict[str, Callable[[], Awaitable[Answer]]]) -> Starlette:
    """Each command answers with a document; where that has an `error`, it failed."""

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
    """Return whether it was done, and the answer; raises OSError where no gateway runs."""
    with closing(_UnixConnection(Path(runtime_dir) / SOCKET)) as connection:
        connection.request("POST", f"/{command}")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK, json.loads(answer.read())
