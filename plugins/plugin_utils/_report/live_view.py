# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline of a rollout as lines of text: a picture that fits a terminal, and news for a log."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from .records import (
    BAD,
    CURRENT,
    DONE,
    ENDED,
    PUT_OFF,
    ROLLED_BACK,
    ROLLING_BACK,
    UNFINISHED,
    UNTOUCHED,
    WAITING,
    HostRecord,
    News,
)
from .results import first_line
from .tracker import Tracker

IDLE = (WAITING, PUT_OFF, UNTOUCHED)
GOOD_TONE, BAD_TONE, BUSY_TONE, QUIET_TONE, PLAIN_TONE = "good", "bad", "busy", "quiet", ""
# Gives a piece of text the colour of a tone.
Paint = Callable[[str, str], str]
Piece = tuple[str, str]


def unpainted(text: str, _tone: str) -> str:
    return text


def live_view(tracker: Tracker, now: float, width: int, height: int, paint: Paint = unpainted) -> list[str]:
    """At most `height` lines, none wider than `width`. Hosts in work and in trouble come first where not all fit."""
    rows = _chosen(list(tracker.hosts.values()), max(1, height - 3))
    wide = max((len(host.name) for host in rows), default=0)
    lines = [[(_title(tracker), PLAIN_TONE)], _summary(tracker, now)]
    lines += [_row(tracker, host, wide, now) for host in rows]
    left_out = Counter(host.state for host in tracker.hosts.values()) - Counter(host.state for host in rows)
    if left_out:
        lines.append([("  … " + ", ".join(f"{count} {state}" for state, count in left_out.items()), QUIET_TONE)])
    return [_painted(line, width, paint) for line in lines[:height]]


def news_line(news: News) -> str:
    """A line for a log: when, who, what."""
    return f"{clock(news.at):>7}  {news.host + ': ' if news.host else ''}{news.words}"


def ending(tracker: Tracker) -> str:
    """How it ended, in a line."""
    why = first_line(" ".join(tracker.words[:1]) or next((f"{f.host} {f.cause}" for f in tracker.failures), ""))
    if not tracker.began_work and tracker.result == "failed":
        because = f": {why}" if why else ""
        return f"{tracker.about.change} refused after {clock(tracker.seconds(0))}, nothing was changed{because}"
    counts = Counter(host.state for host in tracker.hosts.values())
    hosts = ", ".join(f"{count} {state}" for state, count in counts.items())
    because = f": {why}" if why and tracker.result != "succeeded" else ""
    return f"{tracker.about.change} {tracker.result} after {clock(tracker.seconds(0))} ({hosts}){because}"


def clock(seconds: float) -> str:
    """12.3 s as 0:12; from an hour on as 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def clipped(text: str, width: int) -> str:
    """As much of it as has room, with an ellipsis where something is missing."""
    used = 0
    for index, character in enumerate(text):
        used += columns(character)
        if used > width:
            while index and columns(text[:index]) > width - 1:
                index -= 1
            return text[:index] + "…" if width > 0 else ""
    return text


def columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _title(tracker: Tracker) -> str:
    number = f" {tracker.rollout_id}" if tracker.rollout_id else ""
    image = tracker.image or tracker.digest
    what = f" → {_short(image)}" if image else f": {tracker.reason}" if tracker.reason else ""
    holder = f"  {tracker.holder}" if tracker.holder else ""
    return f"{tracker.about.change}{number}{what}{holder}"


def _summary(tracker: Tracker, now: float) -> list[Piece]:
    pieces = []
    if tracker.batch:
        pieces.append(f"batch {tracker.batch} of {tracker.batch_count}")
    pieces.append(f"{tracker.done} of {len(tracker.hosts)} {tracker.about.members} done")
    pieces.append(f"{clock(tracker.seconds(now))} elapsed")
    expected = tracker.expected(now)
    if expected is not None:
        pieces.append(f"about {clock(expected)} to go")
    if tracker.leader:
        term = f" (term {tracker.term})" if tracker.term else ""
        pieces.append(f"{tracker.name_of(tracker.leader)} leads{term}")
    if tracker.requests:
        pieces.append(f"{tracker.requests:,} requests")
    if tracker.result != UNFINISHED:
        pieces.insert(0, tracker.result)
    tone = PLAIN_TONE if tracker.result == UNFINISHED else GOOD_TONE if tracker.result == "succeeded" else BAD_TONE
    return [(" · ".join(pieces), tone)]


def _row(tracker: Tracker, host: HostRecord, wide: int, now: float) -> list[Piece]:
    mark, tone = _mark(host.state)
    ended = host.state in ENDED
    seconds = host.seconds(now) if ended else None if host.state in IDLE else now - host.since
    took = "" if seconds is None else f"{seconds:.1f} s" if ended else f"{int(seconds)} s"
    return [
        (f"{mark} ", tone),
        (f"{host.name:<{wide}}  ", PLAIN_TONE),
        (f"{_words(host):<12}", tone),
        (f"{took:>8}  ", PLAIN_TONE),
        (_detail(tracker, host), BAD_TONE if host.state in (*BAD, ROLLED_BACK) else QUIET_TONE),
    ]


def _words(host: HostRecord) -> str:
    return "up to date" if host.state == CURRENT else host.state


def _mark(state: str) -> Piece:
    if state in (DONE, CURRENT):
        return "✔", GOOD_TONE
    if state in (*BAD, ROLLED_BACK, ROLLING_BACK):
        return "✖", BAD_TONE
    return ("·", QUIET_TONE) if state in IDLE else ("▶", BUSY_TONE)


def _detail(tracker: Tracker, host: HostRecord) -> str:
    leads = ["leads"] if host.name == tracker.name_of(tracker.leader) else []
    if host.state in (*BAD, ROLLED_BACK, ROLLING_BACK):
        cause = next((first_line(f.cause) for f in reversed(tracker.failures) if f.host == host.name), "")
        serves = {True: "serves", False: "OUT OF SERVICE", None: ""}[host.serves]
        return ", ".join(filter(None, [serves, *leads, cause]))
    if host.progress and host.state not in (*ENDED, *IDLE):
        return host.progress
    version = [str(host.after["version"])] if host.after and host.after.get("version") else []
    steps = [f"{name} {seconds:.1f}" for name, seconds in host.waits.items() if seconds >= 0.05]
    return ", ".join([*leads, *version, " ".join(steps)]).strip(", ")


def _chosen(hosts: Sequence[HostRecord], room: int) -> list[HostRecord]:
    """In their order, as many as have room."""
    if len(hosts) <= room:
        return list(hosts)

    def urgency(host: HostRecord) -> tuple[int, float]:
        if host.state in (*BAD, ROLLED_BACK, ROLLING_BACK):
            return 0, 0.0
        if host.state not in (*ENDED, *IDLE):
            return 1, 0.0
        return (2, 0.0) if host.state in IDLE else (3, -host.since)

    wanted = {host.name for host in sorted(hosts, key=urgency)[:room]}
    return [host for host in hosts if host.name in wanted]


def _short(image: str) -> str:
    """A digest by its first twelve characters, a reference without its registry."""
    name, at, digest = image.rpartition("@")
    short = f"{digest[:19]}" if digest.startswith("sha256:") else digest
    return f"{name.partition('/')[2] or name}{at}{short}"


def _painted(pieces: Sequence[Piece], width: int, paint: Paint) -> str:
    text, room = "", width
    for piece, tone in pieces:
        shown = clipped(piece, room)
        room -= columns(shown)
        text += paint(shown, tone) if shown.strip() else shown
        if shown != piece:
            break
    return text.rstrip()
