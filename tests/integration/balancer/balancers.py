# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real HAProxies in front of servers that answer as a test sets."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.support import await_true, free_port

CONFIGURATION = """
global
    stats socket {folder}/admin.sock mode 600 level admin
    stats socket ipv4@127.0.0.1:{tcp} level admin
    stats socket {folder}/operator.sock level operator
    nbthread 1
defaults
    mode http
    timeout connect 1s
    timeout check 2s
    timeout client 30s
    timeout server 30s
    retries 0
frontend public
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    option httpchk GET /
    default-server check inter 100ms fastinter 50ms downinter 100ms fall 2 rise 2
    server a 127.0.0.1:{a}
    server b 127.0.0.1:{b}
backend unchecked
    server a 127.0.0.1:{a}
    server c 127.0.0.1:{b}
"""


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Clients that are cut off are what some tests are about."""


class Upstream:
    """Answers with its name; /held when it is told to."""

    def __init__(self, name: str, port: int = 0) -> None:
        upstream = self
        self.release = threading.Event()
        self.held = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/held":
                    upstream.held += 1
                    upstream.release.wait(20)
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = QuietServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class Balancer:
    """A HAProxy of its own."""

    def __init__(self, folder: Path, a: int, b: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.port, self.tcp = folder, free_port(), free_port()
        self.admin = str(folder / "admin.sock")
        path = folder / "haproxy.cfg"
        path.write_text(CONFIGURATION.format(folder=folder, port=self.port, tcp=self.tcp, a=a, b=b))
        self._process = subprocess.Popen(["haproxy", "-db", "-f", str(path)], stderr=subprocess.DEVNULL)
        await_true(lambda: self.status("a") == self.status("b") == "UP", "both servers are up")

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self.admin)
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def row(self, server: str, backend: str = "gateways") -> dict[str, str]:
        head, *lines = self.ask("show stat").removeprefix("# ").splitlines()
        rows = [dict(zip(head.split(","), line.split(","))) for line in lines if line]
        return next(row for row in rows if (row["pxname"], row["svname"]) == (backend, server))

    def status(self, server: str, backend: str = "gateways") -> str:
        try:
            return self.row(server, backend)["status"]
        except OSError:
            return ""

    def get(self, path: str = "/") -> str:
        """Who answered, or the status where it is an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=25)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else str(answer.status)
        finally:
            connection.close()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
