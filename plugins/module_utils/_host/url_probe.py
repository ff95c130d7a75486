# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to URLs from a host, and record status and seconds of each."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

Getter = Callable[[str, float], int]

# A proxy of the host's shell is not in the gateways' way.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def status_of(url: str, timeout: float) -> int:
    """Of a request as gateways make it, once the whole answer is there; raises OSError without one."""
    try:
        with OPENER.open(url, timeout=timeout) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def ask(
    urls: Sequence[str],
    requests: int,
    timeout: float,
    *,
    fetch: Getter = status_of,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """A line for each request, as the probe of an ECS task logs it: `probe INDEX STATUS SECONDS`."""
    lines = []
    for index, url in enumerate(urls):
        for _request in range(requests):
            began, status = clock(), "000"
            try:
                status = str(fetch(url, timeout))
            except (OSError, http.client.HTTPException) as error:
                lines.append(f"probe-error {index} {type(error).__name__} {error}")
            lines.append(f"probe {index} {status} {clock() - began:.4f}")
    return lines
