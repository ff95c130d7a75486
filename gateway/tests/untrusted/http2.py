"""HTTP/2 requests that must not reach a backend unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.h2wire import Headers

INJECTED = b"x\r\nX-Injected: y\r\n\r\nGET /api/secret/1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


def request(*more: tuple[bytes, bytes], without: tuple[bytes, ...] = (), **pseudo: bytes) -> Headers:
    values = {b":method": b"GET", b":scheme": b"http", b":authority": b"gateway.test", b":path": b"/api/users/1"}
    values |= {b":" + name.encode(): value for name, value in pseudo.items()}
    return [(name, value) for name, value in values.items() if name not in without] + list(more)


REFUSED: dict[str, Headers] = {
    "path: CRLF": request(path=b"/api/users/" + INJECTED),
    "path: LF": request(path=b"/api/users/x\nX: y"),
    "path: a space": request(path=b"/api/users/1 HTTP/1.1"),
    "path: a tab": request(path=b"/api/users/1\tx"),
    "path: NUL": request(path=b"/api/users/1\0"),
    "path: a raw byte": request(path=b"/api/users/\xff"),
    "path: a fragment": request(path=b"/api/users/1#x"),
    "path: no slash": request(path=b"api/users/1"),
    "path: nothing": request(path=b""),
    "path: absolute": request(path=b"http://gateway.test/api/users/1"),
    "path: dots": request(path=b"/api/users/../secret/1"),
    "path: missing": request(without=(b":path",)),
    "path: twice": [*request(), (b":path", b"/api/secret/1")],
    "method: CRLF": request(method=b"GET /api/secret/1 HTTP/1.1\r\nHost: x\r\n\r\nGET"),
    "method: a space": request(method=b"GET /api/secret/1"),
    "method: lower case": request(method=b"get"),
    "method: missing": request(without=(b":method",)),
    "method: twice": [*request(), (b":method", b"POST")],
    "method: CONNECT": request(method=b"CONNECT", without=(b":path", b":scheme")),
    "method: TRACE": request(method=b"TRACE"),
    "authority: CRLF": request(authority=b"gateway.test\r\nX: y"),
    "authority: a space": request(authority=b"a b"),
    "authority: a user": request(authority=b"user@gateway.test"),
    "authority: a path": request(authority=b"gateway.test/api/secret"),
    "authority: nothing": request(authority=b""),
    "authority: missing": request(without=(b":authority",)),
    "authority: twice": [*request(), (b":authority", b"other.test")],
    "scheme: CRLF": request(scheme=b"http\r\nX: y"),
    "scheme: a URL": request(scheme=b"http://gateway.test/api/secret/1?"),
    "scheme: missing": request(without=(b":scheme",)),
    "pseudo: of an answer": [*request(), (b":status", b"200")],
    "pseudo: unknown": [*request(), (b":foo", b"x")],
    "pseudo: after the others": [request()[0], *request()[2:], (b"x", b"y"), (b":scheme", b"http")],
    "pseudo: an empty name": request((b":", b"x")),
    "name: upper case": request((b"X-Y", b"z")),
    "name: a colon": request((b"x: y\r\nz", b"z")),
    "name: a space": request((b"x y", b"z")),
    "name: CRLF": request((b"x\r\ny", b"z")),
    "name: nothing": request((b"", b"z")),
    "name: NUL": request((b"x\0", b"z")),
    "value: CRLF": request((b"x", b"y\r\nz: w")),
    "value: LF": request((b"x", b"y\nz: w")),
    "value: CR": request((b"x", b"y\rz: w")),
    "value: NUL": request((b"x", b"y\0z")),
    "hop: connection": request((b"connection", b"keep-alive")),
    "hop: connection names a header": request((b"connection", b"x-request-id")),
    "hop: transfer-encoding": request((b"transfer-encoding", b"chunked"), method=b"POST"),
    "hop: upgrade": request((b"upgrade", b"h2c")),
    "hop: proxy-connection": request((b"proxy-connection", b"keep-alive")),
    "hop: keep-alive": request((b"keep-alive", b"timeout=5")),
    "hop: te": request((b"te", b"chunked")),
    "length: +": request((b"content-length", b"+5"), method=b"POST"),
    "length: two": request((b"content-length", b"5"), (b"content-length", b"6"), method=b"POST"),
    "length: zeros in front": request((b"content-length", b"005"), method=b"POST"),
}
