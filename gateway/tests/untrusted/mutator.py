"""Mutations of the corpus, seeded, so that each run can be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from untrusted.corpus import CASES, SECRET
from untrusted.http2 import REFUSED as REFUSED_HEADERS
from untrusted.http2 import request
from untrusted.paths import REFUSED

if TYPE_CHECKING:
    from random import Random

    from support.h2wire import Headers

_BYTES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"/",
    b".",
    b"\\",
    b"%",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"_",
    b"0",
]
_LINES = [
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 44\r\n",
    b"Content-Length: 9999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, Host\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: other.test\r\n",
    b"X-Request-Id: theirs\r\n",
    b"X-Forwarded-For: 9.9.9.9\r\n",
    b"Authorization: Bearer x\r\n",
    b" folded\r\n",
    b"X-Original-URL: /api/secret/1\r\n",
]
_TARGETS = [
    *(path.encode() for path in REFUSED),
    b"/api/users/1",
    b"/api/users/early",
    b"/api/users/no-upgrade",
    b"/api/other",
    b"/",
    b"/metrics",
    b"*",
    b"http://gateway.test/api/users/1",
    b"http://gateway.test/api/secret/../users/1",
    b"http://other.test/api/users/1",
]
_CHUNKS = [
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"5;x=y\r\nhello\r\n",
    b"5\nhello\n",
    b"1\r\nZZ\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n",
]
_METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"DELETE", b"X"]
_SEEDS = [case.raw for case in CASES if len(case.raw) < 2000]


def mutant(random: Random) -> bytes:
    raw = random.choice(_SEEDS)
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        raw = random.choice(_CHANGES)(random, raw)
    return raw


def _insert(random: Random, raw: bytes) -> bytes:
    at = random.randrange(len(raw) + 1)
    return raw[:at] + random.choice(_BYTES) + raw[at:]


def _replace(random: Random, raw: bytes) -> bytes:
    at = random.randrange(len(raw) or 1)
    return raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :]


def _remove(random: Random, raw: bytes) -> bytes:
    at = random.randrange(len(raw) or 1)
    return raw[:at] + raw[at + random.choice((1, 1, 2, 8)) :]


def _repeat_line(random: Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    at = random.randrange(len(lines))
    return b"\r\n".join([*lines[:at], lines[at], *lines[at:]])


def _swap_lines(random: Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\r\n".join(lines)


def _add_line(random: Random, raw: bytes) -> bytes:
    first, end, rest = raw.partition(b"\r\n")
    return first + end + random.choice(_LINES) + rest


def _other_target(random: Random, raw: bytes) -> bytes:
    return raw.replace(b"/api/users/1", random.choice(_TARGETS), 1)


def _other_method(random: Random, raw: bytes) -> bytes:
    return random.choice(_METHODS) + b" " + raw.partition(b" ")[2]


def _splice(random: Random, raw: bytes) -> bytes:
    other = random.choice(_SEEDS)
    return raw[: random.randrange(len(raw) + 1)] + other[random.randrange(len(other) + 1) :]


def _append(random: Random, raw: bytes) -> bytes:
    return raw + random.choice([SECRET, *_CHUNKS])


_CHANGES = [
    _insert,
    _insert,
    _replace,
    _remove,
    _repeat_line,
    _swap_lines,
    _add_line,
    _add_line,
    _other_target,
    _other_method,
    _splice,
    _append,
]


def mutant_headers(random: Random) -> Headers:
    """Return what HTTP/2 carries: no line ends, so that every byte can be anywhere."""
    headers = request((b"x-y", b"z"), method=random.choice((b"GET", b"POST")))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(headers))
        name, value = headers[at]
        match random.randrange(7):
            case 0:
                headers[at] = (name, _insert(random, value))
            case 1:
                headers[at] = (_insert(random, name), value)
            case 2:
                headers.insert(at, headers[random.randrange(len(headers))])
            case 3 if len(headers) > 1:
                del headers[at]
            case 4:
                line, _, text = random.choice(_LINES).partition(b"\r\n")[0].partition(b":")
                headers.append((line.lower().strip() or b"x", text.strip()))
            case 5:
                headers = [(one, random.choice(_TARGETS)) if one == b":path" else (one, two) for one, two in headers]
            case _:
                other = random.choice([*REFUSED_HEADERS.values()])
                headers.append(random.choice(other))
    return headers
