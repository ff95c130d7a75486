# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a container serves, or it is clear that it won't."""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Optional

from .host import HostError, Spec
from .http import Response, get
from .redact import redacted

# Says why waiting is pointless by now, or None.
Hopeless = Callable[[], Optional[str]]


class GateError(HostError):
    """The container didn't become healthy."""


def wait(gate: Spec, hopeless: Hopeless, *, successes: int) -> None:
    """Poll until so many good answers came in a row."""
    url = gate["url"]
    timeout = float(gate.get("timeout") or 90)
    interval = float(gate.get("interval") or 0.5)
    deadline = time.monotonic() + timeout
    good = 0
    while True:
        answer = ask(url, min(float(gate.get("request_timeout") or 3), max(deadline - time.monotonic(), 0.5)))
        good = good + 1 if isinstance(answer, Response) and answer.status == 200 else 0
        if good >= successes:
            return
        why = hopeless()
        if why:
            raise GateError(f"{why} {last_answer(url, answer)}")
        if time.monotonic() + interval > deadline:
            raise GateError(f"It didn't answer 200 {count(successes)} within {timeout:g} s. {last_answer(url, answer)}")
        time.sleep(interval if not good else min(interval, 0.1))


def count(successes: int) -> str:
    return "once" if successes == 1 else f"{successes} times in a row"


def ask(url: str, timeout: float) -> Response | OSError:
    try:
        return get(url, timeout)
    except OSError as error:
        return error


def last_answer(url: str, answer: Response | OSError) -> str:
    if isinstance(answer, OSError):
        return f"The last request to {url} got no answer: {answer.strerror or answer}."
    return f"{url} last answered {answer.status}: {redacted(answer.text[:800].strip())}"


def about(url: str, timeout: float) -> Any:
    """The JSON with which a service describes itself, or what came instead of it."""
    answer = ask(url, timeout)
    if isinstance(answer, OSError):
        return {"error": last_answer(url, answer)}
    try:
        value = answer.json()
    except json.JSONDecodeError:
        value = None
    return value if answer.status == 200 and isinstance(value, dict) else {"error": last_answer(url, answer)}
