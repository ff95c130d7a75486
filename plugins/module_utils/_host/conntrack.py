# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets the kernel forget TCP connections that it tracks, by its netlink interface (linux/nfnetlink_conntrack.h).

The kernel sends the packets of a tracked connection where it sent the first one. A client that connects from the same
port again goes there too, unless the kernel has seen the end of its earlier connection.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Callable

NETLINK_NETFILTER = 12
GET, DELETE = 1 << 8 | 1, 1 << 8 | 2
REQUEST, DUMP = 1, 0x300
ERROR, DONE = 2, 3
HEADER = struct.Struct("=IHHII")
# The family, a version and a number; of any family here.
ANY_FAMILY = bytes(4)
ATTRIBUTE = struct.Struct("=HH")
NESTED = 0x8000
ORIGINAL, REPLY, PROTOCOL, ID, ZONE = 1, 2, 4, 12, 18
ADDRESSES, PORTS = 1, 2
SOURCE4, SOURCE6 = 1, 3
SOURCE_PORT, DESTINATION_PORT = 2, 3
TCP, STATE = 1, 1
# The state TIME_WAIT. Most connections are in it, and need not be read further.
ENDED = ATTRIBUTE.pack(5, STATE) + b"\x07"
PATIENCE = 10.0
AT_ONCE = 200


@dataclass(frozen=True)
class TrackedConnection:
    """To which port a client connected, and which address and port answer it."""

    port: int
    answers: str
    answers_on: int


def forget(stale: Callable[[TrackedConnection], bool]) -> None:
    """Let the kernel forget TCP connections. Raises OSError.

    Those of which it has seen the end are left: a new one from the same port replaces them.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.settimeout(PATIENCE)
        kernel.bind((0, 0))
        kernel.send(_request(GET, REQUEST | DUMP, ANY_FAMILY))
        requests = [
            _request(DELETE, REQUEST, _name(message))
            for message in _messages(kernel)
            for connection in _connections(message)
            if stale(connection)
        ]
        for first in range(0, len(requests), AT_ONCE):
            # Without an acknowledgement: a connection that has ended meanwhile is no error.
            kernel.send(b"".join(requests[first : first + AT_ONCE]))


@cache
def is_local(address: str) -> bool:
    """Whether it is an address of this host."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _request(kind: int, flags: int, content: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(content), kind, flags, 0, 0) + content


def _messages(kernel: socket.socket) -> Iterator[bytes]:
    """The contents of the kernel's answer."""
    while True:
        received = kernel.recv(1 << 17)
        while received:
            length, kind = HEADER.unpack_from(received)[:2]
            content = received[HEADER.size : length]
            if kind == DONE:
                return
            if kind == ERROR:
                number = -int.from_bytes(content[:4], sys.byteorder, signed=True)
                raise OSError(number, os.strerror(number))
            yield content
            received = received[_padded(length) :]


def _connections(message: bytes) -> Iterator[TrackedConnection]:
    """The TCP connection of a message, unless its end was seen."""
    if ENDED in message:
        return
    found = _values(message[len(ANY_FAMILY) :])
    if TCP not in _values(found.get(PROTOCOL, b"")):
        return
    asked, answer = _values(_values(found[ORIGINAL])[PORTS]), _values(found[REPLY])
    addresses, ports = _values(answer[ADDRESSES]), _values(answer[PORTS])
    family, source = (socket.AF_INET6, SOURCE6) if SOURCE6 in addresses else (socket.AF_INET, SOURCE4)
    yield TrackedConnection(
        int.from_bytes(asked[DESTINATION_PORT], "big"),
        socket.inet_ntop(family, addresses[source]),
        int.from_bytes(ports[SOURCE_PORT], "big"),
    )


def _name(message: bytes) -> bytes:
    """What a message has to name its connection: the family, who asked whom, and the id."""
    attributes = _attributes(message[len(ANY_FAMILY) :])
    return message[: len(ANY_FAMILY)] + b"".join(whole for kind, whole in attributes if kind in (ORIGINAL, ID, ZONE))


def _values(content: bytes) -> dict[int, bytes]:
    return {kind: whole[ATTRIBUTE.size : ATTRIBUTE.unpack_from(whole)[0]] for kind, whole in _attributes(content)}


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind of each attribute, and the attribute itself."""
    while len(content) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(content)
        if length < ATTRIBUTE.size:
            return
        yield kind & ~NESTED, content[: _padded(length)]
        content = content[_padded(length) :]


def _padded(length: int) -> int:
    return (length + 3) & ~3
