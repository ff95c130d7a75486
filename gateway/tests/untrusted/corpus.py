"""Ambiguous requests, which two programs could read differently, and the expected result of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

HOST = b"Host: gateway.test\r\n"
PATH = "/api/users/1"
SECRET = b"GET /api/secret/stolen HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """Refused where `reaches` is None. What is refused for its framing takes the connection along."""

    name: str
    raw: bytes
    reaches: Reaches | None = None
    status: int = 400
    goes_on: bool = False
    """After the refusal the connection may be used on: where the request ends is beyond doubt."""


@dataclass(frozen=True)
class Reaches:
    """The one request that a backend sees."""

    method: str = "GET"
    target: str = PATH
    body: bytes = b""
    host: bytes = b"gateway.test"
    headers: dict[str, bytes | None] = field(default_factory=dict)
    """None: must not be there."""
    closes: bool = False
    """The connection ends with it."""
    or_refused: bool = False
    """HAProxy 2.6 mends it, newer ones may refuse it."""


def _post(name: str, headers: bytes, body: bytes = b"", reaches: Reaches | None = None) -> Case:
    return Case(name, b"POST /api/users/1 HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body, reaches)


def _get(
    name: str, headers: bytes, reaches: Reaches | None = None, *, status: int = 400, goes_on: bool = False
) -> Case:
    return Case(name, b"GET /api/users/1 HTTP/1.1\r\n" + HOST + headers + b"\r\n", reaches, status, goes_on)


def _line(name: str, line: bytes, reaches: Reaches | None = None, *, status: int = 400, goes_on: bool = False) -> Case:
    return Case(name, line + b"\r\n" + HOST + b"\r\n", reaches, status, goes_on)


def _without(*names: str) -> Reaches:
    return Reaches(headers=dict.fromkeys(names))


CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
SAID = Reaches("POST", body=b"hello")
SAID_LENGTH = Reaches("POST", body=b"hello", headers={"content-length": b"5", "transfer-encoding": None})
SAID_CHUNKED = Reaches("POST", body=b"hello", headers={"content-length": None, "transfer-encoding": b"chunked"})
PLAIN = Reaches()
SAID_LAST = replace(SAID_CHUNKED, closes=True, or_refused=True)
MENDED = replace(SAID, or_refused=True)
OCTAL = replace(MENDED, body=b"hello67890", headers={"content-length": b"10"})
PLAIN_MENDED = Reaches(or_refused=True)

LENGTHS = [
    _post("length: plain", b"Content-Length: 5\r\n", b"hello", SAID_LENGTH),
    _post(
        "length: a smuggled request is a body",
        b"Content-Length: %d\r\n" % len(SECRET),
        SECRET,
        Reaches("POST", body=SECRET),
    ),
    _get("length: a GET with a body", b"Content-Length: %d\r\n\r\n" % len(SECRET) + SECRET[:-2], Reaches(body=SECRET)),
    _post("length: spaces around it", b"Content-Length:  5 \t\r\n", b"hello", SAID_LENGTH),
    _post("length: the same twice", b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello", SAID_LENGTH),
    _post("length: the same twice in a list", b"Content-Length: 5, 5\r\n", b"hello", SAID_LENGTH),
    _post("length: two", b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello"),
    _post("length: two in a list", b"Content-Length: 0, 5\r\n", b"hello"),
    _post("length: two, one of nothing", b"Content-Length: 5\r\nContent-Length:\r\n", b"hello"),
    _post("length: nothing", b"Content-Length:\r\n"),
    _post("length: +", b"Content-Length: +5\r\n", b"hello"),
    _post("length: -", b"Content-Length: -5\r\n", b"hello"),
    _post("length: -0", b"Content-Length: -0\r\n"),
    _post("length: hexadecimal", b"Content-Length: 0x5\r\n", b"hello"),
    _post(
        "length: octal",
        b"Content-Length: 010\r\n",
        b"hello67890",
        OCTAL,
    ),
    _post("length: zeros in front", b"Content-Length: 0005\r\n", b"hello", replace(SAID_LENGTH, or_refused=True)),
    _post("length: a fraction", b"Content-Length: 5.0\r\n", b"hello"),
    _post("length: an exponent", b"Content-Length: 5e0\r\n", b"hello"),
    _post("length: a word after it", b"Content-Length: 5 bytes\r\n", b"hello"),
    _post("length: quoted", b'Content-Length: "5"\r\n', b"hello"),
    _post("length: a space within", b"Content-Length: 1 0\r\n", b"hello67890"),
    _post("length: a comma", b"Content-Length: 5,\r\n", b"hello"),
    _post("length: an underscore within", b"Content-Length: 1_0\r\n", b"hello67890"),
    _post("length: digits that are not ASCII", "Content-Length: \u0665\r\n".encode(), b"hello"),
    _post("length: 2^64 + 5", b"Content-Length: 18446744073709551621\r\n", b"hello"),
    _post("length: 2^63 + 5", b"Content-Length: 9223372036854775813\r\n", b"hello"),
    _post("length: a petabyte", b"Content-Length: 1000000000000000\r\n", b"hello"),
    _post("length: very long", b"Content-Length: " + b"9" * 400 + b"\r\n", b"hello"),
    _post("length: NUL after it", b"Content-Length: 5\x00\r\n", b"hello"),
    _post("length: a vertical tab before it", b"Content-Length:\x0b5\r\n", b"hello"),
    _post("length: a space before the colon", b"Content-Length : 5\r\n", b"hello"),
    _post("length: a tab before the colon", b"Content-Length\t: 5\r\n", b"hello"),
    _post("length: folded", b"Content-Length:\r\n 5\r\n", b"hello", SAID_LENGTH),
    _post("length: an underscore twin", b"Content-Length: 5\r\nContent_Length: 0\r\n", b"hello", SAID_LENGTH),
    _post(
        "length: an underscore twin alone",
        b"Content_Length: 5\r\n",
        reaches=Reaches("POST", headers={"content_length": None}),
    ),
    Case(
        "length: in HTTP/1.0",
        b"POST /api/users/1 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n" + HOST + b"\r\nhello",
        SAID_LENGTH,
    ),
]

ENCODINGS = [
    _post("encoding: plain", CHUNKED, HELLO, SAID_CHUNKED),
    _post("encoding: upper case", b"TRANSFER-ENCODING: CHUNKED\r\n", HELLO, SAID_CHUNKED),
    _post("encoding: a space after it", b"Transfer-Encoding: chunked \r\n", HELLO, SAID_CHUNKED),
    _post("encoding: a tab before it", b"Transfer-Encoding:\tchunked\r\n", HELLO, SAID_CHUNKED),
    _get(
        "encoding: of a GET", CHUNKED + b"\r\n" + HELLO[:-2], Reaches(body=b"hello", headers={"content-length": None})
    ),
    _post("encoding: length first", b"Content-Length: 3\r\n" + CHUNKED, HELLO, SAID_LAST),
    _post("encoding: length last", CHUNKED + b"Content-Length: 3\r\n", HELLO, SAID_LAST),
    _post(
        "encoding: CL.TE",
        b"Content-Length: %d\r\n" % (5 + len(SECRET)) + CHUNKED,
        b"0\r\n\r\n" + SECRET,
        replace(SAID_LAST, body=b""),
    ),
    _post(
        "encoding: TE.CL",
        b"Content-Length: 4\r\n" + CHUNKED,
        b"%x\r\n" % len(SECRET) + SECRET + b"\r\n0\r\n\r\n",
        replace(SAID_LAST, body=SECRET),
    ),
    _post("encoding: a length that is none", b"Content-Length: x\r\n" + CHUNKED, HELLO),
    _post("encoding: twice", CHUNKED * 2, HELLO),
    _post("encoding: and an empty one", CHUNKED + b"Transfer-Encoding: ,\r\n", HELLO, MENDED),
    _post("encoding: and an empty one before it", b"Transfer-Encoding: ,\r\n" + CHUNKED, HELLO, MENDED),
    _post("encoding: twice in a list", b"Transfer-Encoding: chunked, chunked\r\n", HELLO),
    _post("encoding: identity", b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"hello"),
    _post("encoding: chunked, identity", b"Transfer-Encoding: chunked, identity\r\n", HELLO),
    _post("encoding: identity, chunked", b"Transfer-Encoding: identity, chunked\r\n", HELLO),
    _post("encoding: identity and chunked", b"Transfer-Encoding: identity\r\n" + CHUNKED, HELLO),
    _post("encoding: chunked and identity", CHUNKED + b"Transfer-Encoding: identity\r\n", HELLO),
    _post("encoding: gzip", b"Transfer-Encoding: gzip\r\n", HELLO),
    _post("encoding: gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n", HELLO),
    _post("encoding: xchunked", b"Transfer-Encoding: xchunked\r\n", HELLO),
    _post("encoding: chunk", b"Transfer-Encoding: chunk\r\n", HELLO),
    _post("encoding: chunked with a parameter", b"Transfer-Encoding: chunked;q=1\r\n", HELLO),
    _post("encoding: quoted", b'Transfer-Encoding: "chunked"\r\n', HELLO),
    _post("encoding: nothing", b"Transfer-Encoding:\r\nContent-Length: 5\r\n", b"hello"),
    _post("encoding: a comma in front", b"Transfer-Encoding: ,chunked\r\n", HELLO),
    _post("encoding: a comma behind", b"Transfer-Encoding: chunked,\r\n", HELLO, MENDED),
    _post("encoding: a vertical tab in front", b"Transfer-Encoding:\x0bchunked\r\n", HELLO),
    _post("encoding: a form feed behind", b"Transfer-Encoding: chunked\x0c\r\n", HELLO),
    _post("encoding: NUL in front", b"Transfer-Encoding: \x00chunked\r\n", HELLO),
    _post("encoding: NUL behind", b"Transfer-Encoding: chunked\x00\r\n", HELLO),
    _post("encoding: a bare CR behind", b"Transfer-Encoding: chunked\rX: y\r\n", HELLO),
    _post("encoding: 0xff in front", b"Transfer-Encoding: \xffchunked\r\n", HELLO),
    _post("encoding: a space before the colon", b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", HELLO),
    _post("encoding: a tab before the colon", b"Transfer-Encoding\t: chunked\r\nContent-Length: 5\r\n", HELLO),
    _post("encoding: folded", b"Transfer-Encoding:\r\n chunked\r\n", HELLO, SAID_CHUNKED),
    _post("encoding: folded, with a word", b"Transfer-Encoding: chunked\r\n x\r\n", HELLO),
    _post("encoding: behind a bare CR", b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", HELLO),
    _post(
        "encoding: an underscore twin",
        b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n",
        b"hello",
        Reaches("POST", body=b"hello", headers={"transfer_encoding": None, "content-length": b"5"}),
    ),
    Case("encoding: in HTTP/1.0", b"POST /api/users/1 HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n" + HELLO),
    Case(
        "encoding: in HTTP/1.0 with a length",
        b"POST /api/users/1 HTTP/1.0\r\nConnection: keep-alive\r\n"
        + HOST
        + CHUNKED
        + b"Content-Length: 15\r\n\r\n"
        + HELLO,
    ),
]

CHUNKS = [
    _post("chunks: two", CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", SAID),
    _post("chunks: zeros in front", CHUNKED, b"0005\r\nhello\r\n000\r\n\r\n", SAID),
    _post("chunks: an extension is dropped", CHUNKED, b"5;a=b\r\nhello\r\n0;c\r\n\r\n", SAID),
    _post("chunks: a quoted extension is dropped", CHUNKED, b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', SAID),
    _post("chunks: a bare LF in an extension", CHUNKED, b"5;\nhello\r\n0\r\n\r\n", MENDED),
    _post("chunks: a bare CR in an extension", CHUNKED, b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: a smuggled request in an extension", CHUNKED, b"5;\n" + SECRET + b"hello\r\n0\r\n\r\n"),
    _post("chunks: a bare LF after the size", CHUNKED, b"5\nhello\r\n0\r\n\r\n", MENDED),
    _post("chunks: a bare LF after the data", CHUNKED, b"5\r\nhello\n0\r\n\r\n", MENDED),
    _post("chunks: a bare LF after the last size", CHUNKED, b"5\r\nhello\r\n0\n\r\n", MENDED),
    _post("chunks: a bare CR after the size", CHUNKED, b"5\rhello\r\n0\r\n\r\n"),
    _post("chunks: nothing after the data", CHUNKED, b"5\r\nhello0\r\n\r\n"),
    _post("chunks: more data than said", CHUNKED, b"4\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: no size", CHUNKED, b"\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: +", CHUNKED, b"+5\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: -", CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: 0x", CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: a space in front", CHUNKED, b" 5\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: no number", CHUNKED, b"g\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: NUL", CHUNKED, b"5\x00\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: 2^64 + 5", CHUNKED, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _post("chunks: a very long size", CHUNKED, b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n", MENDED),
    _post("chunks: a space behind", CHUNKED, b"5 \r\nhello\r\n0\r\n\r\n", SAID),
    _post("chunks: a tab behind", CHUNKED, b"5\t\r\nhello\r\n0\r\n\r\n", SAID),
    _post("chunks: a smuggled request behind the last", CHUNKED, b"0\r\n" + SECRET),
]

HEADERS = [
    _get("header: a space in the name", b"X Y: z\r\n"),
    _get("header: no name", b": z\r\n"),
    _get("header: no colon", b"X\r\n"),
    _get("header: NUL in the name", b"X\x00Y: z\r\n"),
    _get("header: a parenthesis in the name", b"X(Y: z\r\n"),
    _get("header: a name that is not ASCII", b"X\xe9: z\r\n"),
    _get("header: NUL in the value", b"X-Y: a\x00b\r\n"),
    _get("header: NUL at the end of the value", b"X-Y: a\x00\r\n"),
    _get("header: only NUL", b"X-Y: \x00\r\n"),
    _get("header: BEL in the value", b"X-Y: a\x07b\r\n"),
    _get("header: DEL in the value", b"X-Y: a\x7fb\r\n"),
    _get("header: a bare CR in the value", b"X-Y: a\rb\r\n"),
    _get("header: CR CR LF", b"X-Y: a\r\r\n"),
    _get("header: Latin-1 in the value", b"X-Y: \xe9\r\n", Reaches(headers={"x-y": b"\xe9"})),
    _get("header: a tab in the value", b"X-Y: a\tb\r\n", Reaches(headers={"x-y": b"a\tb"})),
    _get("header: folded", b"X-Y: a\r\n b\r\n", Reaches(headers={"x-y": b"a   b"})),
    _get("header: folded with a tab", b"X-Y: a\r\n\tb\r\n", Reaches(headers={"x-y": b"a  \tb"})),
    Case("header: the first one folded", b"GET /api/users/1 HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n"),
    Case(
        "header: bare LF", b"GET /api/users/1 HTTP/1.1\nHost: gateway.test\nX-Y: z\n\n", Reaches(headers={"x-y": b"z"})
    ),
    Case("header: a bare LF at the end", b"GET /api/users/1 HTTP/1.1\r\n" + HOST + b"\n", PLAIN),
    Case("header: none, one bare LF", b"\nGET /api/users/1 HTTP/1.1\r\n" + HOST + b"\r\n", PLAIN),
    Case("header: empty lines in front", b"\r\n\r\nGET /api/users/1 HTTP/1.1\r\n" + HOST + b"\r\n", PLAIN),
    _get(
        "header: underscore twins are dropped",
        b"X_Forwarded_For: 9.9.9.9\r\nX_User_Id: root\r\n",
        _without("x_forwarded_for", "x_user_id"),
    ),
    _get(
        "header: the URL of another",
        b"X-Original-URL: /api/secret\r\nX-Rewrite-URL: /api/secret\r\n",
        _without("x-original-url", "x-rewrite-url"),
    ),
    _get(
        "header: two authorisations",
        b"Authorization: Bearer x\r\nAuthorization: Bearer y\r\n",
        goes_on=True,
    ),
    _get("header: an unknown expectation", b"Expect: 200-ok\r\n", status=417, goes_on=True),
    _get("header: an expectation with a twin", b"Expect: x, 100-continue\r\n", status=417, goes_on=True),
    _post(
        "header: an expectation",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n",
        b"hello",
        Reaches("POST", body=b"hello", headers={"expect": b"100-continue"}),
    ),
]

HOSTS = [
    Case("host: missing", b"GET /api/users/1 HTTP/1.1\r\n\r\n", goes_on=True),
    Case("host: missing in HTTP/1.0", b"GET /api/users/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", goes_on=True),
    _get("host: the same twice", HOST, PLAIN_MENDED),
    _get("host: two", b"Host: other.test\r\n"),
    *(
        Case(f"host: {value!r}", b"GET /api/users/1 HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", goes_on=True)
        for value in (
            b"",
            b"a b",
            b"a/b",
            b"a,b",
            b"user@gateway.test",
            b"gateway.test:",
            b"gateway.test:80x",
            b"gateway.test:80:80",
            b"gateway.test#",
            b"gateway.test?x",
            b"gateway.test\\x",
            b"[::1",
            b"::1",
            b"g\xe4teway.test",
            b"%67ateway.test",
            b"'gateway.test'",
        )
    ),
    *(
        Case(f"host: {value!r}", b"GET /api/users/1 HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", Reaches(host=value))
        for value in (b"a", b"gateway.test:8080", b"[::1]:80", b"10.0.0.7", b"my_service", b"GATEWAY.test")
    ),
    _line("host: absolute form", b"GET http://gateway.test/api/users/1 HTTP/1.1", PLAIN),
    _line(
        "host: absolute form with a query",
        b"GET http://gateway.test/api/users/1?a=b HTTP/1.1",
        Reaches(target=PATH + "?a=b"),
    ),
    _line("host: absolute form with another", b"GET http://other.test/api/users/1 HTTP/1.1"),
    _line("host: absolute form with another port", b"GET http://gateway.test:81/api/users/1 HTTP/1.1"),
    _line("host: absolute form with a user", b"GET http://user@gateway.test/api/users/1 HTTP/1.1", goes_on=True),
    _line("host: absolute form of another scheme", b"GET ftp://gateway.test/api/users/1 HTTP/1.1", goes_on=True),
    _line("host: absolute form without a path", b"GET http://gateway.test?x HTTP/1.1", goes_on=True),
    _line("host: absolute form without a host", b"GET http:///api/users/1 HTTP/1.1", goes_on=True),
    _line("host: a path like a host", b"GET //gateway.test/api/users/1 HTTP/1.1", goes_on=True),
    Case(
        "host: absolute form without the header", b"GET http://gateway.test/api/users/1 HTTP/1.1\r\n\r\n", goes_on=True
    ),
]

LINES = [
    _line("line: plain", b"GET /api/users/1 HTTP/1.1", PLAIN),
    Case("line: HTTP/0.9", b"GET /api/users/1\r\n"),
    *(
        _line(f"line: {version.decode()}", b"GET /api/users/1 " + version)
        for version in (
            b"HTTP/1.2",
            b"HTTP/0.9",
            b"HTTP/1.10",
            b"HTTP/01.1",
            b"http/1.1",
            b"HTTP/1,1",
            b"HTTP/ 1.1",
            b"HTTP/1.",
            b"HTTP/1",
            b"HTTQ/1.1",
            b"RTSP/1.0",
            b"HTTP/1.1x",
            b"x HTTP/1.1",
            b"HTTP/1.1 HTTP/1.1",
        )
    ),
    _line("line: HTTP/1.0", b"GET /api/users/1 HTTP/1.0\r\nConnection: keep-alive", PLAIN),
    _line("line: HTTP/2.0", b"GET /api/users/1 HTTP/2.0", PLAIN_MENDED),
    _line("line: two spaces before the target", b"GET  /api/users/1 HTTP/1.1", PLAIN_MENDED),
    _line("line: two spaces before the version", b"GET /api/users/1  HTTP/1.1", PLAIN_MENDED),
    _line("line: a space behind", b"GET /api/users/1 HTTP/1.1 "),
    _line("line: a space in front", b" GET /api/users/1 HTTP/1.1"),
    _line("line: tabs", b"GET\t/api/users/1\tHTTP/1.1", PLAIN_MENDED),
    _line("line: a vertical tab", b"GET\x0b/api/users/1 HTTP/1.1"),
    _line("line: bare CR", b"GET /api/users/1 HTTP/1.1\rHost: gateway.test"),
    _line("line: NUL in the method", b"G\x00ET /api/users/1 HTTP/1.1"),
    _line("line: a parenthesis in the method", b"GE(T /api/users/1 HTTP/1.1"),
    _line("line: no method", b"/api/users/1 HTTP/1.1"),
    _line("line: a method in lower case", b"get /api/users/1 HTTP/1.1", goes_on=True),
    _line("line: a method of others", b"PROPFIND /api/users/1 HTTP/1.1", Reaches("PROPFIND")),
    _line("line: CONNECT a host", b"CONNECT gateway.test:80 HTTP/1.1", status=405),
    _line("line: CONNECT a path", b"CONNECT /api/users/1 HTTP/1.1"),
    _line("line: TRACE", b"TRACE /api/users/1 HTTP/1.1", status=405),
    _line("line: OPTIONS *", b"OPTIONS * HTTP/1.1", goes_on=True),
    _line("line: *", b"GET * HTTP/1.1", goes_on=True),
    _line("line: no slash", b"GET api/users/1 HTTP/1.1"),
    _line("line: only a query", b"GET ?x HTTP/1.1"),
    _line("line: a fragment", b"GET /api/users/1#x HTTP/1.1"),
    _line("line: a fragment in the query", b"GET /api/users/1?a#b HTTP/1.1"),
    _line("line: NUL in the target", b"GET /api/users/1\x00 HTTP/1.1"),
    _line("line: DEL in the target", b"GET /api/users/1\x7f HTTP/1.1"),
    _line("line: a raw byte in the query", b"GET /api/users/1?\xff HTTP/1.1"),
    _line("line: UTF-8 in the path", "GET /api/users/\u00e9 HTTP/1.1".encode()),
    Case("line: the preface of HTTP/2 and no more", b"PRI * HTTP/2.0\r\n\r\n", goes_on=True),
]

HOPS = [
    _get("hop: keep-alive", b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", _without("keep-alive")),
    _get("hop: Proxy-Connection", b"Proxy-Connection: close\r\n", _without("proxy-connection")),
    _get("hop: TE", b"Connection: TE\r\nTE: trailers\r\n", _without("connection")),
    _get("hop: TE: chunked", b"TE: chunked\r\n", _without("te")),
    _get("hop: names the request id", b"Connection: X-Request-Id\r\n", _without("connection")),
    _get("hop: names the client's address", b"Connection: keep-alive, X-Forwarded-For\r\n", _without("connection")),
    _get("hop: names the host", b"Connection: Host\r\n", _without("connection")),
    _get(
        "hop: names others",
        b"Connection: keep-alive\r\nConnection: authorization,x-y\r\nX-Y: z\r\nAuthorization: Bearer x\r\n",
        _without("connection", "authorization", "x-y"),
    ),
    _post(
        "hop: names the length",
        b"Connection: Content-Length\r\nContent-Length: %d\r\n" % len(SECRET),
        SECRET,
        Reaches("POST", body=SECRET, headers={"connection": None}),
    ),
    _post("hop: names the encoding", b"Connection: Transfer-Encoding\r\n" + CHUNKED, HELLO, SAID_CHUNKED),
    _get(
        "hop: h2c",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        _without("upgrade", "http2-settings", "connection"),
    ),
    _get("hop: an upgrade to TLS", b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", _without("upgrade", "connection")),
    _get("hop: an upgrade without the word", b"Upgrade: websocket\r\n", _without("upgrade", "connection")),
    _get("hop: the word without an upgrade", b"Connection: upgrade\r\n", _without("upgrade", "connection")),
    _get("hop: two upgrades", b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"),
    _get(
        "hop: two lines of upgrades",
        b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    ),
]

CASES = [*LENGTHS, *ENCODINGS, *CHUNKS, *HEADERS, *HOSTS, *LINES, *HOPS]
