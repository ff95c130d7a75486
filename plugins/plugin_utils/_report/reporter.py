# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout is watched: its tracker is drawn or told line by line, and written down as it goes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .document import as_text, document, write
from .html_page import Page
from .kubernetes_tracker import KubernetesTracker
from .live_view import Paint, ending, live_view, news_line
from .records import KUBERNETES, ROLLOUT, News, Nouns
from .results import clean
from .screen import Screen
from .tracker import Tracker

REDRAW_SECONDS = 0.25
# For a thread that is told to end: what it does under the lock is short, but the machine may be busy.
LAST_WORDS_SECONDS = 60.0
# Writing the report may take this part of the time.
WRITING_SHARE = 0.05


class Reporter:
    """From begin() to finish().

    say(line, news): says a line for good. terminal: where to draw; without it, each change is said as a line. folder:
    where the report goes, as <name>-<time>.html and .json; without it, none is written. summary: a file for the same
    JSON, which is written of every rollout. about: what it is a report of. progress: the new lines of the task that
    runs. lock: whatever keeps others from writing and the process from forking at the same time.
    """

    def __init__(
        self,
        *,
        say: Callable[[str, News | None], None],
        warn: Callable[[str], None],
        lock: AbstractContextManager[Any],
        terminal: Any = None,
        paint: Paint | None = None,
        folder: Path | None = None,
        summary: Path | None = None,
        about: Nouns = ROLLOUT,
        progress: Callable[[], list[str]] = list,
    ) -> None:
        began = datetime.now(timezone.utc)
        began_at = began.isoformat(timespec="seconds")
        self.tracker = KubernetesTracker(began_at) if about is KUBERNETES else Tracker(began_at, about)
        self._zero = time.monotonic()
        self._say, self._warn, self._lock = say, warn, lock
        self._paint = paint or (lambda text, _tone: text)
        self._screen = Screen(terminal, self._view) if terminal else None
        self._folder, self._summary = folder, summary
        self._name = free_name(folder, f"{about.change}-{began:%Y%m%dT%H%M%SZ}") if folder else ""
        self._page = Page() if folder else None
        self._progress = progress
        self._dirty = True
        self._next_report = 0.0
        self._hidden = False
        self._over = threading.Event()
        # A thread, because nothing calls a callback while a task takes its time.
        self._ticker = threading.Thread(target=self._tick, name="rollout picture", daemon=True)

    def begin(self) -> None:
        self._ticker.start()

    @property
    def report(self) -> Path | None:
        """None where there is none, such as of a rollout that was refused."""
        return self._folder / f"{self._name}.html" if self._folder and self.tracker.began_work else None

    def starts(self, host: str, action: str, state: str) -> None:
        with self._lock:
            self.tracker.starts(self._now(), host, action, state)
            self._heard()

    def ends(
        self, host: str, action: str, state: str, status: str, result: Mapping[str, Any], *, whole: bool = False
    ) -> None:
        with self._lock:
            self._hear()
            self.tracker.ends(self._now(), host, action, state, status, result, whole=whole)
            self._heard()

    def erase(self) -> None:
        """Call before other code writes to the terminal. The display is drawn again below that."""
        if self._screen:
            self._screen.erase()

    def hide(self, hidden: bool) -> None:
        """While other code needs the terminal, such as for a prompt."""
        with self._lock:
            self._hidden = hidden
            if hidden:
                self.erase()

    def finish(self, result: str = "") -> None:
        """Leaves the last picture on the terminal and the last state in the report."""
        self._over.set()
        with self._lock:
            self.erase()
            drawn, self._screen = self._screen, None
            self.tracker.finish(self._now(), result)
            if drawn:
                self._say("", None)
                for line in live_view(self.tracker, self._now(), drawn.width, len(self.tracker.hosts) + 3, self._paint):
                    self._say(line, None)
            else:
                self._say_news()
            self._write_report()
        if self._ticker.is_alive():
            # At Python's end it must not hold the lock.
            self._ticker.join(LAST_WORDS_SECONDS)

    def ending(self) -> str:
        return ending(self.tracker)

    def document(self) -> dict[str, Any]:
        """The report as it is now."""
        return document(self.tracker, self._now(), datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def _now(self) -> float:
        return time.monotonic() - self._zero

    def _view(self, width: int, height: int) -> list[str]:
        return live_view(self.tracker, self._now(), width, height, self._paint)

    def _hear(self) -> None:
        for line in self._progress():
            if not self.tracker.hears(self._now(), line):
                self._say(news_line(News(self._now(), "", clean(line))), None)
            self._dirty = True

    def _heard(self) -> None:
        self._dirty = True
        if not self._screen:
            self._say_news()

    def _say_news(self) -> None:
        for news in self.tracker.take_news(self._now()):
            self._say(news_line(news), news)

    def _tick(self) -> None:
        while not self._over.wait(REDRAW_SECONDS):
            with self._lock:
                if self._over.is_set():
                    return
                self._hear()
                if not self._screen:
                    self._say_news()
                elif not self._hidden:
                    self._screen.draw()
                if self._dirty and self._now() >= self._next_report:
                    self._dirty = False
                    self._write_report()

    def _write_report(self) -> None:
        began = self._now()
        report = self.document()
        if self._folder and self._page and self.tracker.began_work:
            texts = {".json": as_text(report), ".html": self._page.render(report)}
            self._folder = self._folder if self._written(self._folder, self._name, texts) else None
        if self._summary:
            texts = {"": as_text(report)}
            self._summary = self._summary if self._written(self._summary.parent, self._summary.name, texts) else None
        now = self._now()
        self._next_report = now + (now - began) / WRITING_SHARE

    def _written(self, folder: Path, name: str, texts: Mapping[str, str]) -> bool:
        try:
            write(folder, name, texts)
        except OSError as error:
            self._warn(f"The report of the rollout can't be written: {error}")
            return False
        return True


def free_name(folder: Path, name: str) -> str:
    """The name, or the first of name-2, name-3, … that has no report yet."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not (folder / f"{name}.json").exists())
