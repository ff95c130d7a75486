# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend to proxy to: echo.py NAME

Answers every request on port 8080 with what arrived, so that a test sees what the gateway made of it. In the query,
`status=503` sets the status, `delay=1.5` waits, `size=100000` answers with so many bytes. /health says `ok`. A
websocket gets back each short frame that it sends, until it closes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = 8080
LONGEST_BODY = 1 << 20
WEBSOCKET_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455
SHORT_FRAME = 125
CLOSE = 8


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75  # longer than a gateway keeps an idle connection, so that the gateway is the one to close
    service = ""

    def handle_request(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo_frames()
            return
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

    def echo_frames(self) -> None:
        self.close_connection = True
        key = self.headers["Sec-WebSocket-Key"].encode() + WEBSOCKET_KEY
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key).digest()).decode())
        self.end_headers()
        while len(head := self.rfile.read(2)) == 2:
            length = head[1] & 0x7F
            if length > SHORT_FRAME:
                return
            mask, masked = self.rfile.read(4), self.rfile.read(length)
            text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
            self.wfile.write(bytes([head[0], length]) + text)
            if head[0] & 0x0F == CLOSE:
                return

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
