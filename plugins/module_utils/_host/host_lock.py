# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call at a time on a host."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .host import Host, HostError

LOCK = Path("/run/evenkeel.lock")
# A first run on a slow host takes minutes, also after its controller was killed.
LOCK_WAIT = 300


@contextmanager
def one_at_a_time(host: Host) -> Iterator[None]:
    """Two calls at once would replace each other's containers."""
    if host.check_mode:
        yield
        return
    with LOCK.open("w", encoding="ascii") as lock:
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HostError(
                        f"Another call has been converging this host for more than {LOCK_WAIT} s ({LOCK} is held): "
                        "let it finish, then run this again."
                    ) from None
                time.sleep(0.5)
        yield
