# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway's counters of client requests, from its metrics in Prometheus' text format."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from .._common.http import get
from .._common.redact import redacted
from .host import HostError, Spec

PROCESS = "process_start_time_seconds"
_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)", re.M)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def watch(options: Spec) -> dict[str, Any]:
    """Samples at full intervals since 1970, for so many seconds: the same moments on all hosts whose clocks agree.

    A sample that fails is left out, and counted as missing with its reason.
    """
    interval, url = options["interval"], options["url"]
    # The first one is due at the next full interval; with it, there is a window more than samples.
    first = math.floor(time.time() / interval) + 1
    windows = range(first, first + max(1, round(options["seconds"] / interval)) + 1)
    samples: list[dict[str, Any]] = []
    problem = ""
    for window in windows:
        time.sleep(max(0.0, window * interval - time.time()))
        try:
            answer = get(url, min(interval, options["request_timeout"]), options["validate_certs"])
            if answer.status != 200:
                raise HostError(f"{url} answers {answer.status}.")
            samples.append({"window": window, **parse(answer.text, options["requests"], options["duration"])})
        except (OSError, HostError) as error:
            problem = redacted(str(error))
    return {"samples": samples, "missing": len(windows) - len(samples), "problem": problem}


def parse(text: str, requests: str, duration: str) -> dict[str, Any]:
    """The process and its routes: requests, errors, seconds and `within`, by the bounds of the histogram.

    requests is a counter with a label status or code, duration a histogram; both may have a label route; the route
    "-" has no client requests. Raises HostError if one of them is missing.
    """
    routes: dict[str, dict[str, Any]] = {}
    process, seen = 0.0, set()
    for name, labels, value in _LINE.findall(text):
        if name == PROCESS:
            process = float(value)
        part = name[len(duration) :] if name.startswith(duration) else ""
        if name != requests and part not in ("_sum", "_count", "_bucket"):
            continue
        seen.add(requests if name == requests else duration)
        known: dict[str, str] = dict(_LABEL.findall(labels))
        route = known.get("route", "")
        if route == "-":
            continue
        traffic = routes.setdefault(route, {"requests": 0.0, "errors": 0.0, "seconds": 0.0, "within": {}})
        if name == requests:
            # The share that failed is of all that came, also where no duration is known.
            if known.get("status", known.get("code", "")).startswith("5"):
                traffic["errors"] += float(value)
        elif part == "_sum":
            traffic["seconds"] += float(value)
        elif part == "_count":
            traffic["requests"] += float(value)
        else:
            bound = known.get("le", "")
            traffic["within"][bound] = traffic["within"].get(bound, 0.0) + float(value)
    missing = [name for name in (requests, duration) if name not in seen]
    if missing:
        raise HostError(f"It has no metric {' and no '.join(missing)}.")
    return {"process": process, "routes": routes}
