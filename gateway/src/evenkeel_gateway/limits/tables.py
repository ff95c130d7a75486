# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counts in HAProxy: its stick tables and the map of the limits, through the runtime API."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evenkeel_gateway import files
from evenkeel_gateway.haproxy.limits import fresh_map, map_text, read_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from evenkeel_gateway.haproxy.runtime_api import RuntimeApi
    from evenkeel_gateway.settings.limits import Limit

log = logging.getLogger(__name__)

# A dump of a table of 100,000 keys takes a second or two.
LONG_SECONDS = 30.0
# A command line of the runtime API may be as long as a buffer, 16 KiB or more.
_LINE = 12_000
_TABLE = re.compile(r"# table: (\S+),")
_PROCESS = re.compile(r"^proc\.limits_process: type=str value=<(.*)>$", re.MULTILINE)
_QUESTIONS = re.compile(r"^(asked|unanswered|stale) (\d+)$", re.MULTILINE)
_RECENT = re.compile(r"^0x\S+ key=(\S+) .*?gpt0=(\d+)", re.MULTILINE)


@dataclass(slots=True)
class TableRow:
    own: int = 0
    others: int = 0
    may: int = 0


@dataclass
class CountSnapshot:
    """The recent counts of one HAProxy process."""

    process: str = ""
    recent: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """By kind of limit: the keys of the last seconds, and their counts."""
    refused: dict[str, int] = field(default_factory=dict)
    questions: dict[str, int] = field(default_factory=dict)


class LimitTables:
    def __init__(self, api: RuntimeApi, map_file: Path) -> None:
        self._api = api
        self._file = map_file
        self.map: dict[str, int] = {}

    def load(self) -> None:
        """Read what a previous control plane has set in HAProxy."""
        self.map = read_map(self._file) or fresh_map()

    async def snapshot(self, kinds: Iterable[str]) -> CountSnapshot:
        commands = ["get var proc.limits_process", "show limits", "show table limit_refused"]
        commands += [f"show table limit_recent_{kind}" for kind in kinds]
        text = await self._api.ask("; ".join(commands))
        process = _PROCESS.search(text)
        found = CountSnapshot(process[1] if process else "")
        found.questions = {name: int(count) for name, count in _QUESTIONS.findall(text)}
        for part in text.split("# table: limit_")[1:]:
            name = part[: part.index(",")]
            if name == "refused":
                found.refused = {key: row.own for key, row in _rows(part)}
            else:
                found.recent[name.removeprefix("recent_")] = [(key, int(own)) for key, own in _RECENT.findall(part)]
        return found

    async def rows(self, limit: Limit) -> list[tuple[str, TableRow]]:
        """Return all rows: slow for large tables."""
        return list(_rows(await self._api.ask(f"show table {limit.table}", LONG_SECONDS)))

    async def attempts(self, limit: Limit) -> dict[str, TableRow]:
        """Return the login attempts counted without Redis, by address."""
        return dict(_rows(await self._api.ask(f"show table {limit.table} data.gpc0 gt 0")))

    async def put(self, limit: Limit, news: Iterable[tuple[str, dict[str, int]]]) -> None:
        await self._tell(
            f"set table {limit.table} key {key} " + " ".join(f"data.{name} {value}" for name, value in values.items())
            for key, values in news
        )

    async def clear(self, limits: Iterable[Limit]) -> None:
        names = [limit.table for limit in limits]
        names += [f"limit_recent_{limit.kind}" for limit in limits if limit.kind != "login"]
        for name in names:
            await self._api.ask(f"clear table {name}", LONG_SECONDS)
            # Rows that a request uses at this moment are not removed.
            left = _rows(await self._api.ask(f"show table {name}", LONG_SECONDS))
            fields = "data.gpt0 0" if name.startswith("limit_recent_") else "data.gpt0 0 data.gpc0 0 data.gpc1 0"
            await self._tell(f"set table {name} key {key} {fields}" for key, _ in left)

    async def set_map(self, values: dict[str, int], *, force: bool = False) -> None:
        """Set it in the running HAProxy, and in the file for the next one."""
        new = {key: value for key, value in values.items() if force or self.map.get(key) != value}
        if new:
            await self._tell(f"set map {self._file} {key} {value}" for key, value in new.items())
            self.map |= new
            files.write(self._file, map_text(self.map))

    async def set_redis(self, address: str, port: int) -> None:
        await self._api.ask(
            f"set server limits_redis/redis addr {address} port {port}; set server limits_redis/redis state ready"
        )

    async def _tell(self, commands: Iterable[str]) -> None:
        for line in _lines(commands):
            answer = await self._api.ask(line)
            if answer:
                log.warning("HAProxy refused a count: %s", answer.splitlines()[0])


def _rows(text: str) -> Iterator[tuple[str, TableRow]]:
    for line in text.splitlines():
        if line.startswith("0x"):
            words = dict(word.split("=", 1) for word in line.split()[1:])
            row = TableRow(int(words.get("gpc0", 0)), int(words.get("gpc1", 0)), int(words.get("gpt0", 0)))
            yield words["key"], row


def _lines(commands: Iterable[str]) -> Iterator[str]:
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
