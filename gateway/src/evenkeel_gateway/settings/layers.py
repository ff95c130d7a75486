# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of the settings: files, the specific ones over the general ones, and the environment over all."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv.parser import parse_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ENVIRONMENT = "local"
Tree = dict[str, Any]


@dataclass(frozen=True)
class Layers:
    """All variables. `A__B__C=x` is `A_B_C` in `values`, and `x` at a, b, c in `tree`."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    tree: Tree = field(default_factory=dict, repr=False)
    files: tuple[Path, ...] = ()
    """The files that were read."""
    watched: tuple[Path, ...] = ()
    """The files that are read if they exist."""
    problems: tuple[str, ...] = ()
    twice: Mapping[str, str] = field(default_factory=dict)
    """Variables that one source sets to two values, as A_B and as A__B, and that source."""

    def without(self, names: set[str]) -> Layers:
        kept = {name: value for name, value in self.values.items() if name.upper() not in names}
        return replace(self, values=kept)


def read(environ: Mapping[str, str] | None = None) -> Layers:
    environ = os.environ if environ is None else environ
    reading = _LayerReader()
    folder = Path(environ.get("CONFIG_DIR") or ".")
    if not folder.is_dir():
        reading.problems.append(f"CONFIG_DIR={folder}: no such directory, so no file would be read")
    for path in _general(folder):
        reading.file(path)
    environment = environ.get("NODE_ENV") or reading.values.get("NODE_ENV") or DEFAULT_ENVIRONMENT
    for path in _special(folder, environment):
        reading.file(path)
    reading.merge("the environment", environ)
    return Layers(
        reading.values,
        reading.tree,
        tuple(reading.files),
        (*_general(folder), *_special(folder, environment)),
        tuple(reading.problems),
        reading.twice,
    )


def _general(folder: Path) -> tuple[Path, ...]:
    return (folder / ".env", folder / ".env.local")


def _special(folder: Path, environment: str) -> tuple[Path, ...]:
    paths = (folder / f".env.{environment}", folder / f".env.{environment}.local")
    return tuple(path for path in paths if path not in _general(folder))


class _LayerReader:
    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.tree: Tree = {}
        self.files: list[Path] = []
        self.problems: list[str] = []
        self.twice: dict[str, str] = {}

    def file(self, path: Path) -> None:
        found: dict[str, str] = {}
        try:
            with path.open(encoding="utf-8") as stream:
                for binding in parse_stream(stream):
                    if binding.error or (binding.key and binding.value is None):
                        # Do not quote the line: it may hold a secret.
                        self.problems.append(f"{path}: line {binding.original.line}: not NAME=value")
                    elif binding.key:
                        found[binding.key] = binding.value or ""
        except FileNotFoundError:
            return
        except (OSError, UnicodeError) as error:
            self.problems.append(f"{path}: not readable: {getattr(error, 'strerror', None) or 'not UTF-8'}")
            return
        self.files.append(path)
        self.merge(str(path), found)

    def merge(self, source: str, found: Mapping[str, str]) -> None:
        flat: dict[str, str] = {}
        for name, value in found.items():
            if not value:
                continue  # counts as not set
            parts = name.split("__")
            nested = len(parts) > 1 and all(parts)
            key = "_".join(parts) if nested else name
            if flat.setdefault(key, value) != value:
                self.twice[key] = source
            if nested:
                _plant(self.tree, [part.lower() for part in parts], value)
        self.values |= flat


def _plant(tree: Tree, path: list[str], value: str) -> None:
    *branches, leaf = path
    for branch in branches:
        if not isinstance(tree.get(branch), dict):
            tree[branch] = {}
        tree = tree[branch]
    tree[leaf] = value
