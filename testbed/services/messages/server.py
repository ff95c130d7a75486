# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for the calls: JSON as boto3 speaks it to SQS, and the query protocol as it speaks it to SNS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from .calls import Broker, Data
from .queues import RefusedError

_REASONS = {200: "OK", 400: "Bad Request", 500: "Internal Server Error"}


class Server:
    """Answers in a thread of its own, on 127.0.0.1 unless told otherwise."""

    def __init__(self, broker: Broker | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.broker = broker or Broker()
        self._host, self.port = host, port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        # One event for each queue, replaced whenever a message becomes visible.
        self._news: dict[str, asyncio.Event] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    def queue_url(self, name: str) -> str:
        return f"{self.url}/123456789012/{name}"

    def __enter__(self) -> Server:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def do(self, operation: str, **data: Any) -> Data:
        """Make a call without HTTP, from any thread."""

        async def call() -> Data:
            return self.broker.call(operation, {"_base": self.url, **data})

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        if self._server:
            self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self.port, backlog=512, limit=2**21)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
                }
                if headers.get("expect"):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                status, kind, answer = await self._answer(headers, body)
                writer.write(
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nx-amzn-RequestId: standin\r\n"
                    f"Content-Length: {len(answer)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        target = headers.get("x-amz-target", "")
        base = f"http://{headers.get('host', '')}"
        try:
            if target:
                data = await self._call(target.rpartition(".")[2], {"_base": base, **json.loads(body or b"{}")})
                return 200, "application/x-amz-json-1.0", json.dumps(data).encode()
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
            operation = fields.pop("Action", "")
            fields.pop("Version", "")
            data = await self._call(operation, {"_base": base, **nested(fields)})
            return 200, "text/xml", xml(operation, data).encode()
        except RefusedError as error:
            if target:
                problem = {"__type": f"com.amazonaws.sqs#{error.code}", "message": str(error)}
                return 400, "application/x-amz-json-1.0", json.dumps(problem).encode()
            text = f"<Type>Sender</Type><Code>{error.code}</Code><Message>{escape(str(error))}</Message>"
            return 400, "text/xml", f"<ErrorResponse><Error>{text}</Error></ErrorResponse>".encode()

    async def _call(self, operation: str, data: Data) -> Data:
        found = self.broker.call(operation, data)
        if operation != "ReceiveMessage" or found:
            return found
        queue = self.broker.named(data["QueueUrl"].rpartition("/")[2])
        wait = float(data.get("WaitTimeSeconds", queue.wait))
        end = self._loop.time() + wait
        while not found and (left := end - self._loop.time()) > 0:
            news = self._news.setdefault(queue.name, asyncio.Event())
            queue.arrived = self._announce(queue.name)
            # A hidden message becomes visible by time alone.
            due = queue.next_due
            until = left if due is None else min(left, max(0.001, due - self.broker.clock()))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), until)
            found = self.broker.call(operation, data)
        return found

    def _announce(self, name: str) -> Any:
        def announce() -> None:
            news = self._news.pop(name, None)
            if news:
                news.set()

        return announce


def nested(fields: dict[str, str]) -> Data:
    """Return the values of the query protocol as a tree: A.member.1.B=x is {"A": [{"B": "x"}]}, entries are a map."""
    tree: Data = {}
    for name, value in fields.items():
        node: Any = tree
        *path, leaf = name.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    found = _lists(tree)
    assert isinstance(found, dict)
    return found


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if set(node) == {"member"}:
        members = node["member"]
        return [_lists(members[key]) for key in sorted(members, key=int)]
    if set(node) == {"entry"}:
        entries = [_lists(entry) for entry in node["entry"].values()]
        return {entry.get("key", entry.get("Name")): entry.get("value", entry.get("Value")) for entry in entries}
    return {key: _lists(value) for key, value in node.items()}


def xml(operation: str, data: Data) -> str:
    return (
        f'<{operation}Response xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><{operation}Result>{_element(data)}'
        f"</{operation}Result><ResponseMetadata><RequestId>standin</RequestId></ResponseMetadata></{operation}Response>"
    )


def _element(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_element(item)}</{name}>" for name, item in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_element(item)}</member>" for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))
