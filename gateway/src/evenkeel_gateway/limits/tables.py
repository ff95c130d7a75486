# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's stick tables: read through the runtime API, and set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from evenkeel_gateway.settings.limits import Limit

CLOSED = 2_000_000_000
"""In gpt0: Redis has refused, HAProxy asks no more."""
# The runtime API takes a line of a buffer's size, 16 KiB.
_LINE = 12_000
_TABLE = re.compile(r"# table: (\S+),")
_PROCESS = re.compile(r"^proc\.limits_process: type=str value=<(.*)>$", re.MULTILINE)
_QUESTIONS = re.compile(r"^(asked|unanswered|stale) (\d+)$", re.MULTILINE)


@dataclass(slots=True)
class Row:
    own: int = 0
    others: int = 0
    may: int = 0


@dataclass
class Snapshot:
    """The counts of one HAProxy process at one time."""

    process: str = ""
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    questions: dict[str, int] = field(default_factory=dict)


def reading(limits: Iterable[Limit], *, everything: bool) -> str:
    """Return the commands for a snapshot: what was counted in the last second or two, or all there is."""
    commands = ["get var proc.limits_process", "show table limit_refused", "show limits"]
    for limit in limits:
        if limit.kind == "login":
            commands += [f"show table {limit.table} data.gpc0 gt 0", f"show table {limit.table} data.gpc1 gt 0"]
        else:
            commands.append(f"show table {limit.table}" + ("" if everything else " data.http_req_rate gt 0"))
    return "; ".join(commands)


def parse(text: str) -> Snapshot:
    snapshot = Snapshot()
    found = _PROCESS.search(text)
    snapshot.process = found[1] if found else ""
    snapshot.questions = {name: int(count) for name, count in _QUESTIONS.findall(text)}
    rows: dict[str, Row] = {}
    for line in text.splitlines():
        if line.startswith("0x"):
            words = dict(word.split("=", 1) for word in line.split()[1:])
            rows[words["key"]] = Row(int(words["gpc0"]), int(words.get("gpc1", 0)), int(words.get("gpt0", 0)))
        elif table := _TABLE.match(line):
            rows = snapshot.rows.setdefault(table[1], {})
    return snapshot


def setting(table: str, key: str, **values: int) -> str:
    return f"set table {table} key {key} " + " ".join(f"data.{name} {value}" for name, value in values.items())


def batches(commands: Iterable[str]) -> Iterator[str]:
    """Join commands into lines that the runtime API takes."""
    line: list[str] = []
    length = 0
    for command in commands:
        if line and length + len(command) > _LINE:
            yield "; ".join(line)
            line, length = [], 0
        line.append(command)
        length += len(command) + 2
    if line:
        yield "; ".join(line)
