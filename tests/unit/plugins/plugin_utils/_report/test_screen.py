# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.screen import Screen
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.terminal import Terminal


class Stream:
    """A terminal of a size that may change; `writes` counts."""

    def __init__(self, width: int = 40, height: int = 10) -> None:
        self.terminal = Terminal(width, height)
        self.writes: list[str] = []

    def fileno(self) -> int:
        return 1

    def write(self, text: str) -> None:
        self.writes.append(text)
        self.terminal.feed(text)

    def flush(self) -> None: ...


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    stream = Stream()

    def size(_fd: int) -> os.terminal_size:
        return os.terminal_size((stream.terminal.width, stream.terminal.height))

    monkeypatch.setattr(os, "get_terminal_size", size)
    return stream


def test_it_is_drawn_over_what_was_drawn_with_one_write(stream: Stream) -> None:
    pictures = iter([["first", "second", "third"], ["1st", "second"], ["now"]])
    screen = Screen(stream, lambda _width, _height: next(pictures))  # type: ignore[arg-type]
    for _number in range(3):
        screen.draw()
    assert stream.terminal.lines() == ["now", ""]
    assert len(stream.writes) == 3
    assert not any(text.startswith("\x1b[J") for text in stream.writes), "it is not cleared before: that flickers"


def test_what_others_write_stays_above_it(stream: Stream) -> None:
    screen = Screen(stream, lambda _width, _height: ["picture", "of two lines"])  # type: ignore[arg-type]
    stream.write("before\r\n")
    for number in range(20):
        screen.draw()
        screen.erase()
        stream.write(f"error {number}\r\n")
        screen.draw()
    assert stream.terminal.lines() == ["before", *(f"error {n}" for n in range(20)), "picture", "of two lines", ""]


def test_it_is_as_large_as_the_terminal_lets_it(stream: Stream) -> None:
    screen = Screen(stream, lambda width, height: ["x" * width] * height)  # type: ignore[arg-type]
    screen.draw()
    screen.draw()
    assert stream.terminal.lines() == ["x" * 39] * 9 + [""]


def test_a_terminal_that_became_narrower_is_left_clean(stream: Stream) -> None:
    texts = iter([["\x1b[0;32m" + "y" * 39 + "\x1b[0m"], ["z"]])
    screen = Screen(stream, lambda _width, _height: next(texts))  # type: ignore[arg-type]
    stream.write("before\r\n")
    screen.draw()
    narrow = Terminal(20, 10)
    narrow.feed("before\r\n" + "y" * 39 + "\r\n")  # as it wraps what is there
    stream.terminal = narrow
    screen.draw()
    assert narrow.lines() == ["before", "z", ""]


def test_erasing_twice_takes_nothing_from_others(stream: Stream) -> None:
    screen = Screen(stream, lambda _width, _height: ["picture"])  # type: ignore[arg-type]
    screen.draw()
    screen.erase()
    stream.write("kept\r\n")
    screen.erase()
    assert stream.terminal.lines() == ["kept", ""]
