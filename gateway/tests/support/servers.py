"""Stand-ins for the services that a gateway calls."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import unquote


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def answer(self, status: int, body: str | bytes, content_type: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests are about."""


class Server:
    handler: ClassVar[type[Handler]]

    def __init__(self) -> None:
        self._server = _QuietServer(("127.0.0.1", 0), self.handler)
        self._server.owner = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _BackendHandler(Handler):
    def _serve(self) -> None:
        body = self.body()
        path, _, query = self.path.partition("?")
        owner: Backend = self.server.owner  # type: ignore[attr-defined]
        if path.endswith("/health"):
            self.answer(200, '{"status":"fine"}')
            return
        owner.requests += 1
        if path.endswith("/status"):
            self.answer(int(query or 500), '{"status":"as asked for"}')
        elif path.endswith("/slow"):
            owner.slow += 1
            time.sleep(float(query))
            self.answer(200, '{"slow":true}')
        elif "login" in unquote(path).lower():
            self.server.owner.logins.append(body.decode())  # type: ignore[attr-defined]
            time.sleep(float(query or 0))
            status = {"right": 200, "broken": 500}.get(body.decode(), 401)
            self.answer(status, "{}")
        elif path.endswith("/hang-up"):
            self.close_connection = True
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.answer(
                200,
                json.dumps({"path": self.path, "method": self.command, "headers": headers, "body": body.decode()}),
            )

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815


class Backend(Server):
    """Tells what reached it."""

    handler = _BackendHandler

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        """How many have come, apart from those for its health."""
        self.slow = 0
        """How many slow requests have come."""
        self.logins: list[str] = []


class _MetadataHandler(Handler):
    token = "the-token"

    def do_PUT(self) -> None:
        if self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            self.answer(200, self.token, "text/plain")
        else:
            self.answer(400, "")

    def do_GET(self) -> None:
        answers: dict[str, str] = self.server.owner.answers  # type: ignore[attr-defined]
        if self.headers.get("X-aws-ec2-metadata-token") != self.token:
            self.answer(401, "")
        elif self.path in answers:
            self.answer(200, answers[self.path], "text/plain")
        else:
            self.answer(404, "")


class Metadata(Server):
    """IMDSv2: nothing without a token."""

    handler = _MetadataHandler

    def __init__(self) -> None:
        super().__init__()
        document = {"instanceId": "i-0abc", "privateIp": "10.0.0.7", "pendingTime": "2026-01-02T03:04:05Z"}
        self.answers = {
            "/latest/dynamic/instance-identity/document": json.dumps(document),
            "/latest/meta-data/public-ipv4": "203.0.113.7",
        }


class _SecretsHandler(Handler):
    def do_POST(self) -> None:
        secrets: dict[str, str] = self.server.owner.secrets  # type: ignore[attr-defined]
        arn = json.loads(self.body())["SecretId"]
        if "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", ""):
            self._refuse("UnrecognizedClientException")
        elif arn.endswith("denied"):
            self._refuse("AccessDeniedException")
        elif arn not in secrets:
            self._refuse("ResourceNotFoundException")
        else:
            self.answer(200, json.dumps({"ARN": arn, "SecretString": secrets[arn]}), "application/x-amz-json-1.1")

    def _refuse(self, code: str) -> None:
        self.answer(400, json.dumps({"__type": code, "message": "refused"}), "application/x-amz-json-1.1")


class SecretsManager(Server):
    handler = _SecretsHandler

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def store(self, name: str, value: Any) -> str:
        arn = f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}"
        self.secrets[arn] = value if isinstance(value, str) else json.dumps(value)
        return arn


class _JwksHandler(Handler):
    def do_GET(self) -> None:
        owner: JwksServer = self.server.owner  # type: ignore[attr-defined]
        owner.reads += 1
        time.sleep(owner.delay)
        if owner.drip:
            self.send_response(200)
            self.end_headers()
            while not owner.stopped:
                self.wfile.write(b" ")
                time.sleep(0.05)
            return
        if owner.location:
            self.send_response(owner.status)
            self.send_header("Location", owner.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.answer(owner.status, owner.body)


class JwksServer(Server):
    handler = _JwksHandler

    def __init__(self, *keys: dict[str, Any]) -> None:
        super().__init__()
        self.reads = 0
        self.status = 200
        self.delay = 0.0
        self.drip = False
        self.location = ""
        self.stopped = False
        self.body: str | bytes = ""
        self.publish(*keys)

    def publish(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys})

    def __exit__(self, *arguments: object) -> None:
        self.stopped = True
        super().__exit__(*arguments)
