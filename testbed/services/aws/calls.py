# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of a client, and the responses that moto lacks."""

from __future__ import annotations

import io
import json
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

# Where IAM has another name for a service than requests are signed with.
IAM_NAMES = {"monitoring": "cloudwatch"}


@dataclass(frozen=True)
class Call:
    """One request, as far as a gap needs to know it."""

    access_key: str
    service: str
    action: str
    protocol: str  # json, cbor, query, ec2 or rest

    @property
    def permission(self) -> str:
        """What a policy calls it."""
        return f"{IAM_NAMES.get(self.service, self.service)}:{self.action}"

    @classmethod
    def of(cls, request: Request) -> Call:
        credential = re.search(r"Credential=([^/,]+)/[^/]+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
        access_key, service = credential.groups() if credential else ("", "")
        target = request.headers.get("X-Amz-Target", "")
        if target:
            return cls(access_key, service, target.rpartition(".")[2], "json")
        operation = re.fullmatch(r"/service/\w+/operation/(\w+)", request.path)
        if operation:
            return cls(access_key, service, operation[1], "cbor")
        if request.mimetype == "application/x-www-form-urlencoded":
            action = parse_qs(request.get_data(as_text=True)).get("Action", [""])[0]
            return cls(access_key, service, action, "ec2" if service == "ec2" else "query")
        return cls(access_key, service, f"{request.method} {request.path}", "rest")


def parameters(request: Request) -> dict[str, str]:
    """What a call of the query protocol is given."""
    return {name: values[0] for name, values in parse_qs(request.get_data(as_text=True)).items()}


def error(call: Call, code: str, message: str) -> Response:
    """An error in the shape of the protocol that the call used, so that SDKs raise what AWS would make them raise."""
    if call.protocol == "query":
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        )
        return Response(f"{body}<RequestId>testbed</RequestId></ErrorResponse>", 403, content_type="text/xml")
    if call.protocol == "ec2":
        body = f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        return Response(f"{body}<RequestID>testbed</RequestID></Response>", 403, content_type="text/xml")
    name = f"{code}Exception"
    if call.protocol == "cbor":
        pairs = b"\xa2" + b"".join(map(_cbor, ("__type", name, "message", message)))
        return Response(pairs, 400, {"smithy-protocol": "rpc-v2-cbor"}, content_type="application/cbor")
    return Response(
        json.dumps({"__type": name, "message": message}),
        400 if call.protocol == "json" else 403,
        {"x-amzn-ErrorType": name},
        content_type="application/x-amz-json-1.1",
    )


def _cbor(text: str) -> bytes:
    data = text.encode()
    return b"\x79" + len(data).to_bytes(2, "big") + data


def denied(call: Call, account: str, role: str) -> Response:
    """What AWS answers a caller without the permission."""
    code = "UnauthorizedOperation" if call.protocol == "ec2" else "AccessDenied"
    what = call.permission
    why = f"no identity-based policy allows the {what} action"
    who = f"arn:aws:sts::{account}:assumed-role/{role}/testbed"
    return error(call, code, f"User: {who} is not authorized to perform: {what} because {why}")


Gap = Callable[[Call, Request], Optional[Response]]


class Handler(MotoRequestHandler):  # type: ignore[misc]  # moto has no types
    timeout = 60

    def log_request(self, *args: Any) -> None:
        """Silent: errors are still logged."""


def server(address: str, port: int, gaps: Sequence[Gap], tls: ssl.SSLContext | None = None) -> BaseWSGIServer:
    """An endpoint, listening but not yet serving, that asks the gaps one after the other, and then moto."""
    moto = DomainDispatcherApplication(create_backend_app)

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ, populate_request=False)
        call = Call.of(request)
        if call.protocol != "rest":  # whose body was read, to know the action or whom it is about
            environ["wsgi.input"] = io.BytesIO(request.get_data())
        for gap in gaps:
            answer = gap(call, request)
            if answer is not None:
                return answer(environ, start_response)
        return moto(environ, start_response)  # type: ignore[no-any-return]

    made = make_server(address, port, serve, threaded=True, request_handler=Handler)
    if tls:
        # The handshake happens in the thread of the connection: a silent client must not hold up the others.
        made.socket = tls.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    return made
