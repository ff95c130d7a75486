# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend to proxy to: echo.py NAME

Answers every request on port 8080 with what arrived, so that a test sees what the gateway made of it. In the query,
`status=503` sets the status, `delay=1.5` waits, `size=100000` answers with so many bytes. /health says `ok`.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = 8080
LONGEST_BODY = 1 << 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75  # longer than a gateway keeps an idle connection, so that the gateway is the one to close
    service = ""

    def handle_request(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LONGEST_BODY))
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        time.sleep(min(float(query.get("delay", 0)), 60))
        if url.path == "/health":
            answer = json.dumps({"status": "ok", "service": self.service}).encode()
        elif "size" in query:
            answer = b"x" * int(query["size"])
        else:
            answer = json.dumps(
                {
                    "service": self.service,
                    "method": self.command,
                    "path": url.path,
                    "query": query,
                    "headers": [[name, value] for name, value in self.headers.items()],
                    "body": body.decode(errors="replace"),
                    "client": self.client_address[0],
                }
            ).encode()
        self.send_response(int(query.get("status", 200)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_request  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Silent: under load the log would cost more than the answer."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def main() -> None:
    Handler.service = sys.argv[1]
    Server(("", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
