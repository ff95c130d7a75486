# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health and metrics of a process without an HTTP server of its own."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from evenkeel_permissions import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[], list[str]]
    """Returns the reasons why it is not alive, or not ready."""


class HealthServer:
    def __init__(self, host: str, port: int, alive: Report, ready: Report) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, metrics.CONTENT_TYPE, metrics.text())
                elif path in ("/healthz", "/readyz"):
                    reasons = alive() if path == "/healthz" else [*alive(), *ready()]
                    body: dict[str, Any] = (
                        {"status": "ok"} if not reasons else {"status": "failing", "reasons": reasons}
                    )
                    self._answer(503 if reasons else 200, "application/json", json.dumps(body).encode())
                else:
                    self._answer(404, "application/json", b'{"title":"Not Found","status":404}')

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay silent."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
