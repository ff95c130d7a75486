# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of values in a JSON file, and messages about values of another type.

A JSON Schema library would say "is not valid under any of the given schemas" where these name the key and a close
one, and it would be one more requirement on every controller.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Kind(Protocol):
    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        """Yield the problems of the value at the path; unknown keys only with strict."""


@dataclass(frozen=True)
class Anything:
    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:  # noqa: ARG002
        return iter(())


@dataclass(frozen=True)
class Flag:
    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:  # noqa: ARG002
        if not isinstance(value, bool):
            yield f"{path} has to be true or false, not {_shown(value)}"


@dataclass(frozen=True)
class Text:
    least: int = 1
    most: int = 4096
    choices: Collection[str] = ()

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:  # noqa: ARG002
        if not isinstance(value, str):
            yield f"{path} has to be a text, not {_shown(value)}"
        elif self.choices and value not in self.choices:
            yield f"{path} can't be {value!r}{suggestion(value, self.choices)}; choose one of {_listed(self.choices)}"
        elif not self.least <= len(value) <= self.most:
            yield f"{path} has {len(value)} characters, {self.least} to {self.most} are allowed"


@dataclass(frozen=True)
class Whole:
    least: int = 0
    most: int = 2**31 - 1
    choices: Collection[int] = ()

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:  # noqa: ARG002
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path} has to be a whole number, not {_shown(value)}"
        elif self.choices and value not in self.choices:
            yield f"{path} can't be {value}; choose one of {_listed(self.choices)}"
        elif not self.least <= value <= self.most:
            yield f"{path} is {value}, {self.least} to {self.most} are allowed"


@dataclass(frozen=True)
class ListOf:
    item: Kind
    least: int = 0
    most: int = 16384
    unique: bool = True

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            yield f"{path} has to be a list, not {_shown(value)}"
            return
        if not self.least <= len(value) <= self.most:
            yield f"{path} has {len(value)} entries, {self.least} to {self.most} are allowed"
        for index, item in enumerate(value):
            yield from self.item.problems(item, f"{path}[{index}]", strict)
            if self.unique and item in value[:index]:
                yield f"{path}[{index}] is in the list twice"


@dataclass(frozen=True)
class Section:
    """A mapping: its known keys, its required keys, and the type of other keys (None: no other keys)."""

    keys: Mapping[str, Kind] = field(default_factory=dict)
    required: Collection[str] = ()
    one_of: Collection[str] = ()
    others: Kind | None = None
    least: int = 0
    most: int = 4096

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{path or 'it'} has to be a mapping, not {_shown(value)}"
            return
        meant: set[str] = set()
        for key, inner in value.items():
            where = f"{path}.{key}" if path else str(key)
            kind = self.keys.get(key, self.others)
            if kind is not None:
                yield from kind.problems(inner, where, strict)
            elif strict:
                meant |= set(close(key, self.keys))
                yield f"unknown key {where}{suggestion(key, self.keys)}"
        # A misspelt key is reported once, not as a missing key, too.
        yield from (f"{path} needs the key {key}" for key in self.required if key not in value and key not in meant)
        if self.one_of and not {*self.one_of} & {*value, *meant}:
            yield f"{path} needs one of the keys {_listed(self.one_of)}"
        if not self.least <= len(value) <= self.most:
            yield f"{path} has {len(value)} keys, {self.least} to {self.most} are allowed"


@dataclass(frozen=True)
class Either:
    """One value, or a list of such values."""

    one: Kind
    many: ListOf

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        kind = self.many if isinstance(value, Sequence) and not isinstance(value, str) else self.one
        return kind.problems(value, path, strict)


def close(word: object, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(str(word), list(known), n=1)


def suggestion(word: object, known: Iterable[str]) -> str:
    found = close(word, known)
    return f", did you mean {found[0]}" if found else ""


def _listed(choices: Iterable[object]) -> str:
    return ", ".join(map(str, choices))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    return repr(value)
