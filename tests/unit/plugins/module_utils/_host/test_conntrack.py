# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel answered, and what it is told."""

from __future__ import annotations

import socket
import struct

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.conntrack import TrackedConnection, forget, is_local

FAMILY = "02000000"
ASKED = "3400018014000180080001000a652608080002000a6526661c000280050001000600000006000200eb4200000600030000500000"
ANSWER = "3400028014000180080001000a652666080002000a6526081c0002800500010006000000060002000050000006000300eb420000"
STATUS = "080003000000018e0800080000000000"
NUMBER = "08000c009b86292a"
LEFT = "08000b0000000001080007000000000530000480"
STATE = "2c0001800500010003000000050002000a000000050003000a00000006000400230000000600050023000000"
ESTABLISHED = bytes.fromhex(FAMILY + ASKED + ANSWER + STATUS + NUMBER + LEFT + STATE)
ENDED = ESTABLISHED.replace(bytes.fromhex("0500010003"), bytes.fromhex("0500010007"))
OF_A_NAME_SERVER = bytes.fromhex(FAMILY + ASKED.replace("0500010006", "0500010011") + ANSWER + STATUS + NUMBER)


class Kernel:
    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heard: list[bytes] = []

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None: ...

    def settimeout(self, _seconds: float) -> None: ...

    def bind(self, _address: tuple[int, int]) -> None: ...

    def send(self, message: bytes) -> None:
        self.heard.append(message)

    def recv(self, _size: int) -> bytes:
        return self.answers.pop(0)


def message(kind: int, content: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(content), kind, 2, 0, 0) + content


def listed(*contents: bytes) -> list[bytes]:
    return [b"".join(message(256, content) for content in contents), message(3, bytes(4))]


def known(monkeypatch: pytest.MonkeyPatch, *answers: bytes) -> Kernel:
    kernel = Kernel(*answers)
    monkeypatch.setattr(socket, "socket", lambda *_: kernel)
    return kernel


def test_the_stale_one_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = known(monkeypatch, *listed(OF_A_NAME_SERVER, ENDED, ESTABLISHED))
    forget(lambda connection: connection == TrackedConnection(port=80, answers="10.101.38.102", answers_on=80))
    assert kernel.heard[1:] == [
        struct.pack("=IHHII", 16 + 4 + 52 + 8, 258, 1, 0, 0) + bytes.fromhex(FAMILY + ASKED + NUMBER)
    ]


def test_many_are_told_in_few_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = known(monkeypatch, *listed(*[ESTABLISHED] * 401))
    forget(lambda _connection: True)
    assert len(kernel.heard) == 1 + 3


def test_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = known(monkeypatch, *listed(ESTABLISHED))
    forget(lambda _connection: False)
    assert len(kernel.heard) == 1


def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, message(2, struct.pack("=i", -1) + bytes(16)))
    with pytest.raises(PermissionError):
        forget(lambda _connection: True)


def test_addresses_of_this_host() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")
