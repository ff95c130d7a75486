# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory of a testbed, and digests of its inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

IGNORED = {"__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", "tests"}


class Directory:
    """Files below the state directory; remembers whether anything changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changed = False
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, content: str, mode: int = 0o600) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent != self.root:
            # The root is private; below it the users of the containers read what is mounted, by each file's own mode.
            path.parent.chmod(0o755)
        if path.is_file() and path.read_text() == content:
            if path.stat().st_mode & 0o777 != mode:
                path.chmod(mode)
                self.changed = True
            return
        # In place, not renamed: a container that mounts the file would keep the old inode.
        if not path.exists():
            path.touch(mode=mode)
        path.chmod(mode)
        path.write_text(content)
        self.changed = True

    def read(self, name: str) -> str | None:
        path = self.root / name
        return path.read_text() if path.is_file() else None

    def remove_others(self, folder: str, keep: set[str]) -> None:
        """Removes sub-folders of `folder` that are not in `keep`."""
        for path in sorted((self.root / folder).glob("*")):
            if path.name not in keep:
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
                self.changed = True


def fingerprint(*parts: Path | str) -> str:
    """A short digest over texts, files and folders."""
    result = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            result.update(part.encode() + b"\0")
            continue
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            name = path.relative_to(part)
            if path.is_file() and not IGNORED.intersection(name.parts):
                result.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return result.hexdigest()[:16]
