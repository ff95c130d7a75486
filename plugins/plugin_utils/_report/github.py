# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout as GitHub Actions shows it: annotations on a run, and the summary of its step.

Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .document import where_time_went
from .live_view import clock
from .records import NOUNS
from .results import clean, first_line

# GitHub shows no more errors of a step.
MOST_ANNOTATIONS = 10
MOST_BYTES = 1024 * 1024
ESCAPED_DATA = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
ESCAPED_PROPERTY = (*ESCAPED_DATA, (":", "%3A"), (",", "%2C"))
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")


def is_here(environment: Mapping[str, str]) -> bool:
    return environment.get("GITHUB_ACTIONS") == "true"


def tell(
    report: Mapping[str, Any], environment: Mapping[str, str], say: Callable[[str], None], warn: Callable[[str], None]
) -> None:
    """Where the process runs on GitHub Actions: annotations to the log, and the rollout to the step's summary."""
    if not is_here(environment):
        return
    for line in error_lines(report):
        say(line)
    path = environment.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            add_step_summary(Path(path), report)
        except OSError as problem:
            warn(f"The summary of the step can't be written: {problem}")


def error(title: str, message: str) -> str:
    """The line that makes an annotation. Without escapes, a message could end it and begin a command of its own."""
    return f"::error title={_escaped(title, ESCAPED_PROPERTY)}::{_escaped(message, ESCAPED_DATA)}"


def error_lines(report: Mapping[str, Any]) -> list[str]:
    """A line for each reason and each failure; none of a rollout that succeeded. `report` is that of document()."""
    if report["result"] == "succeeded":
        return []
    nouns = NOUNS[report["kind"]]
    title = f"{nouns.change.capitalize()} {report['result'] if report['changed'] else 'refused'}"
    found = [error(title, words) for words in report["words"]]
    found += [
        error(f"{failure['host'] or nouns.all_members}: {failure['step']} failed", failure["cause"])
        for failure in report["failures"]
    ]
    return (found or [error(title, "See the output of the step.")])[:MOST_ANNOTATIONS]


def step_summary(report: Mapping[str, Any]) -> str:
    """The rollout as Markdown."""
    return "\n".join(_summary(report)) + "\n"


def add_step_summary(path: Path, report: Mapping[str, Any]) -> None:
    """GitHub refuses all of a summary that is too long; OSError where the file can't be written."""
    text = step_summary(report)
    with path.open("a", encoding="utf-8") as file:
        file.write(text if len(text.encode()) < MOST_BYTES else f"{text.splitlines()[0]}\n")


def _summary(report: Mapping[str, Any]) -> Iterator[str]:
    result = report["result"] if report["changed"] or report["result"] != "failed" else "refused, nothing was changed"
    number = f" {report['rollout_id']}" if report["rollout_id"] else ""
    nouns = NOUNS[report["kind"]]
    yield f"### {nouns.change.capitalize()}{number}: {result}"
    yield ""
    facts = (
        ("image", report["image"] or report["digest"]),
        ("duration", clock(report["seconds"])),
        ("leader", report["leader"]),
        ("holder", report["holder"]),
        ("reason", report["reason"]),
    )
    yield " · ".join(f"{name}: {_text(value)}" for name, value in facts if value)
    if report["words"] and report["result"] != "succeeded":
        yield ""
        yield from (f"- {_text(words)}" for words in report["words"])
    if report["hosts"]:
        yield from _table(
            (nouns.member, "state", "before", "after", "seconds"), [_row(host) for host in report["hosts"]]
        )
    if report["failures"]:
        yield from _table(
            (nouns.member, "failed step", "cause"),
            [(f["host"] or nouns.all_members, f["step"], first_line(f["cause"])) for f in report["failures"]],
        )
    if report["changed"]:
        yield ""
        parts = (f"{words} {clock(seconds)}" for _kind, words, seconds in where_time_went(report))
        yield f"Time: {_text(', '.join(parts))}"
    yield ""


def _row(host: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = "" if host["seconds"] is None else f"{host['seconds']:.1f}"
    return host["name"], host["state"], _version(host["before"]), _version(host["after"]), seconds


def _version(serving: Mapping[str, Any] | None) -> str:
    known = serving or {}
    return str(known.get("version") or (known.get("digest") or "")[:19])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"


def _text(value: str) -> str:
    """On one line, and with no mark-up of its own: a container's log may have said it."""
    return MARKDOWN.sub(r"\\\1", " ".join(clean(value).split()))


def _escaped(text: str, escapes: Sequence[tuple[str, str]]) -> str:
    text = clean(text)
    for character, escape in escapes:
        text = text.replace(character, escape)
    return text
