# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that stay at the end of a terminal, below all that is written to it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TextIO

from .live_view import columns

UP, CLEAR_LINE, CLEAR_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """Draws what `lines(width, height)` returns over what it drew before, with one write and without clearing first.

    Other code calls erase() before it writes. The cursor is always at the start of a line, so that a program
    that is killed leaves a terminal in order.
    """

    def __init__(self, stream: TextIO, lines: Callable[[int, int], list[str]]) -> None:
        self._stream = stream
        self._lines = lines
        self._drawn: list[str] = []

    @property
    def width(self) -> int:
        # A line as wide as the terminal would wrap in some.
        return max(os.get_terminal_size(self._stream.fileno()).columns - 1, 1)

    def draw(self) -> None:
        size = os.get_terminal_size(self._stream.fileno())
        lines = self._lines(self.width, max(size.lines - 1, 1))
        text = "".join(f"{line}{CLEAR_LINE}\r\n" for line in lines)
        self._write(f"{self._to_the_top(size.columns)}{text}{CLEAR_BELOW}")
        self._drawn = lines

    def erase(self) -> None:
        if self._drawn:
            size = os.get_terminal_size(self._stream.fileno())
            self._write(f"{self._to_the_top(size.columns)}{CLEAR_BELOW}")
            self._drawn = []

    def _to_the_top(self, width: int) -> str:
        # A terminal that has become narrower has wrapped the lines.
        rows = sum(max(1, -(-columns(_COLOUR.sub("", line)) // width)) for line in self._drawn)
        return f"\r{UP.format(rows)}" if rows else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
