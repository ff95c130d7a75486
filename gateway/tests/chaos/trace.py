"""What an instance records: a line for each change of its belief, and samples between them.

Times are CLOCK_BOOTTIME, which all processes of a machine share. A grant is written before it counts, its end after it
no longer does: what is written contains what was believed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Writer:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, kind: str, **values: float) -> None:
        os.write(self._file, (json.dumps({"kind": kind} | values) + "\n").encode())


class Grant(NamedTuple):
    at: float
    started: float
    """On the evaluation's way, before the database's clock was read."""
    until: float
    term: int


class Sample(NamedTuple):
    before: float
    after: float
    leads: bool
    term: int


class Belief(NamedTuple):
    who: str
    start: float
    end: float
    term: int

    def __str__(self) -> str:
        return f"{self.who} in term {self.term} from {self.start:.3f} to {self.end:.3f}"


@dataclass
class Trace:
    """Of one process."""

    who: str
    grants: list[Grant] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    killed: float | None = None

    def beliefs(self) -> list[Belief]:
        """Each time that it believed, as one span."""
        found: list[Belief] = []
        for index, grant in enumerate(self.grants):
            next_grant = self.grants[index + 1].at if index + 1 < len(self.grants) else float("inf")
            end = min([grant.until, *(end for end in self.ends if grant.at <= end <= next_grant)])
            if self.killed is not None:
                end = min(end, self.killed)
            if end <= grant.at:
                continue
            last = found[-1] if found else None
            if last and last.term == grant.term and grant.at <= last.end:
                found[-1] = last._replace(end=end)
            else:
                found.append(Belief(self.who, grant.at, end, grant.term))
        return found


class Reader:
    """Reads what was added since the last time."""

    def __init__(self, path: Path, who: str) -> None:
        self._path = path
        self._offset = 0
        self.trace = Trace(who)

    def read(self) -> Trace:
        if not self._path.exists():
            return self.trace
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        for line in text.splitlines():
            entry = json.loads(line)
            kind = entry.pop("kind")
            if kind == "grant":
                self.trace.grants.append(Grant(**entry))
            elif kind == "end":
                self.trace.ends.append(entry["at"])
            elif kind == "sample":
                self.trace.samples.append(Sample(**entry))
        return self.trace
