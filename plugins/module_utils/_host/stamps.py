# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When something was last applied, so that a crash between writing a file and applying it is noticed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from .files import explained
from .host import STATE_DIR, Host


def stamp_path(key: str) -> Path:
    return STATE_DIR / "applied" / hashlib.sha256(key.encode()).hexdigest()[:16]


def applied_at(key: str) -> float:
    try:
        return stamp_path(key).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def stamp(key: str) -> None:
    path = stamp_path(key)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{key}\n", encoding="utf-8")


def newer(host: Host, paths: Sequence[str], moment: float) -> list[str]:
    """The paths that changed in this call, or were written after a moment. A clock that was set back doesn't count."""
    now = time.time()
    return [path for path in paths if path in host.changed_paths or moment < _modified(path) <= now]


def _modified(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0
