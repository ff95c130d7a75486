# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of progress from a module in one of Ansible's workers to the callback plugin in the main process.

A worker is a fork, so it has the pipe that the callback plugin opened before. A result comes only at the end of a task.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

# So many bytes are written whole.
_MOST_BYTES = 2000
_ROOM = 1 << 20


class ProgressPipe:
    """Nothing is said, and nothing is lost, while it is not open."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None
        self._rest = b""

    @property
    def is_open(self) -> bool:
        return self._ends is not None

    def open(self) -> None:
        if self._ends is None:
            self._ends = os.pipe()
            with suppress(AttributeError, OSError):  # Linux alone, and no more than this user may have
                fcntl.fcntl(self._ends[1], fcntl.F_SETPIPE_SZ, _ROOM)
            for end in self._ends:
                os.set_blocking(end, False)

    def close(self) -> None:
        ends, self._ends, self._rest = self._ends, None, b""
        for end in ends or ():
            os.close(end)

    def say(self, line: str) -> None:
        """A line; left out where the reader is too slow."""
        if self._ends:
            with suppress(OSError):
                os.write(self._ends[1], " ".join(line.split()).encode()[:_MOST_BYTES] + b"\n")

    def heard(self) -> list[str]:
        """The lines since the last call."""
        if self._ends is None:
            return []
        with suppress(BlockingIOError):
            while part := os.read(self._ends[0], 65536):
                self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode(errors="replace") for line in lines]


PROGRESS = ProgressPipe()
