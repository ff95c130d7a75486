# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal terminal: cursor up, clearing, carriage return, wrapping, scrolling."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(.)", re.DOTALL)


class Terminal:
    """rows has all that was ever written, above the screen as well."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows: list[str] = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        for number, letter, character in TOKEN.findall(text):
            if letter:
                self._control(letter, number)
            elif character == "\n":
                self._line_feed()
            elif character == "\r":
                self.column = 0
            else:
                self._put(character)

    def lines(self) -> list[str]:
        return [row.rstrip() for row in self.rows]

    def _control(self, letter: str, number: str) -> None:
        if letter == "A":
            top = max(0, len(self.rows) - self.height)
            self.row = max(top, self.row - int(number or 1))
        elif letter == "K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif letter == "J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]
        else:
            assert letter == "m", f"ESC [ {number} {letter} is not for a picture"

    def _line_feed(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _put(self, character: str) -> None:
        if self.column == self.width:
            self._line_feed()
            self.column = 0
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1
