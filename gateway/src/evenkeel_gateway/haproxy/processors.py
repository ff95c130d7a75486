# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of processors that this container may use: those of the node, or its cgroup's limit."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/sys/fs/cgroup")
_MEMBER = Path("/proc/self/cgroup")


def processors() -> int:
    """Return the number, rounded up, at least one."""
    shares = [math.ceil(share) for share in _shares()]
    return max(1, min([len(os.sched_getaffinity(0)), *shares]))


def _shares() -> Iterator[float]:
    """Yield the limits of this cgroup and its parents, in processors."""
    for folder in _folders():
        with suppress(OSError, ValueError):  # cgroup v2: "max 100000" is no limit
            quota, period = (int(figure) for figure in (folder / "cpu.max").read_text().split())
            yield quota / period
        with suppress(OSError, ValueError):
            quota = int((folder / "cpu.cfs_quota_us").read_text())
            if quota > 0:
                yield quota / int((folder / "cpu.cfs_period_us").read_text())


def _folders() -> Iterator[Path]:
    """Yield where the limits may be: a container sees its own cgroup as the root, or the whole tree of the node."""
    try:
        lines = _MEMBER.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # cgroup v1 has a directory for each controller, under one name or both.
        for mount in {"", *({controllers, "cpu"} if controllers else ())}:
            group = Path(path.strip("/"))
            yield from (_ROOT / mount / part for part in (group, *group.parents))
