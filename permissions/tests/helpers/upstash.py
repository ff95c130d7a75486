"""Upstash's REST API in front of a real Redis."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import redis as redis_client

if TYPE_CHECKING:
    from support.redis import RedisServer

TOKEN = "rest-token-0123456789"


class Upstash:
    def __init__(self, redis: RedisServer) -> None:
        outer = self
        self.commands: list[list[str]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self._answer(401, {"error": "WRONGPASS invalid or missing auth token"})
                    return
                command = json.loads(body)
                outer.commands.append(command)
                try:
                    result = redis.client.execute_command(*command)  # type: ignore[no-untyped-call]
                except redis_client.RedisError as error:
                    self._answer(400, {"error": str(error)})
                    return
                self._answer(200, {"result": "OK" if result is True else result})

            def _answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
