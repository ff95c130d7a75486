# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a service is healthy, or can't become healthy any more.

A gate is a mapping: `url` must return `status` (default: 200). With `version` or `instance`, the JSON of `about_url`
(default: `url`) must contain them. `aggregate_url` and `published_url` must return 200 at the end; the latter is the
address by which other hosts reach the service. `max_latency` limits the 95th percentile of the successful responses.
`timeout`, `interval`, `request_timeout` and `max_latency` are seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .._common.http import PortMap, Response, get
from .._common.redact import redacted
from .host import HostError, Spec

# Returns why the service can't become healthy any more, or None.
FatalCheck = Callable[[], Optional[str]]

VERSION_FIELD = "version"
INSTANCE_FIELD = "instanceId"
BETWEEN_GOOD_ONES = 0.1


class GateError(HostError):
    """A service did not become healthy, or did not stay healthy."""


@dataclass(frozen=True)
class ProbeResult:
    """One request to a service: the duration in seconds, and the response."""

    seconds: float
    problem: str = ""
    version: str | None = None
    instance: str | None = None
    # Healthy, and of a version that isn't the wanted one.
    other_version: bool = False
    # From another instance behind the same load balancer: no result for this one.
    foreign: bool = False

    @property
    def good(self) -> bool:
        return not self.problem and not self.foreign


class Gate:
    """A gate and the results of all its requests."""

    def __init__(self, spec: Spec, fatal: FatalCheck | None = None, port_map: PortMap | None = None) -> None:
        self.spec = spec
        self.fatal = fatal
        self.port_map = port_map
        self.interval = float(spec.get("interval") or 0.5)
        self.request_timeout = float(spec.get("request_timeout") or 3)
        self.results: list[ProbeResult] = []

    def wait(self, successes: int) -> None:
        """Send requests until `successes` of them in a row succeed; raises GateError."""
        timeout = float(self.spec.get("timeout") or 90)
        deadline = time.monotonic() + timeout
        row: list[ProbeResult] = []
        others = 0
        while True:
            result = self._probe(min(self.request_timeout, max(deadline - time.monotonic(), 0.5)))
            problem = result.problem
            if not result.foreign:
                row = [*row, result][-successes:] if result.good else []
                others = others + 1 if result.other_version else 0
            if len(row) >= successes:
                problem = self._too_slow(row) or self._others()
                if not problem:
                    return
            why = self.fatal() if self.fatal else None
            if self.fatal and others >= successes:
                # One container is behind the address, and its version does not change.
                why = why or "It is healthy, but not of the wanted version."
            if why:
                raise GateError(f"{why} {problem}")
            if time.monotonic() + self.interval > deadline:
                raise GateError(f"It didn't answer {self._wanted()} {count(successes)} within {timeout:g} s. {problem}")
            time.sleep(min(self.interval, BETWEEN_GOOD_ONES) if row and not problem else self.interval)

    def hold(self, seconds: float, tolerate: int = 0) -> None:
        """Send requests for so many seconds; raises GateError as soon as more of them fail than tolerated."""
        began = time.monotonic()
        row: list[ProbeResult] = []
        bad = 0
        while True:
            result = self._probe(self.request_timeout)
            why = self.fatal() if self.fatal else None
            if result.good:
                row.append(result)
            elif not result.foreign:
                bad += 1
            if why or bad > tolerate:
                after = time.monotonic() - began
                what = (
                    f"It was healthy, but {after:.1f} s later it was not ({bad} of {len(row) + bad} requests failed)."
                )
                raise GateError(" ".join(part for part in (what, why, result.problem) if part))
            left = began + seconds - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(self.interval, left))
        problem = self._too_slow(row) if row else f"No answer came from {self.spec.get('instance')}."
        if problem:
            raise GateError(f"It has to stay healthy for {seconds:g} s. {problem}")

    def report(self) -> dict[str, Any]:
        """The number of responses, successes and instances; latencies of the successes in seconds."""
        good = [result for result in self.results if result.good]
        own = [result for result in self.results if not result.foreign]
        seconds = sorted(result.seconds for result in good)
        return {
            "answers": len(self.results),
            "good": len(good),
            "version": own[-1].version if own else None,
            "instance": own[-1].instance if own else None,
            "latency": {
                "p50": round(percentile(seconds, 50), 4),
                "p95": round(percentile(seconds, 95), 4),
                "max": round(seconds[-1], 4),
            }
            if seconds
            else None,
        }

    def _probe(self, timeout: float) -> ProbeResult:
        result = self._request(timeout)
        self.results.append(result)
        return result

    def _request(self, timeout: float) -> ProbeResult:
        spec = self.spec
        url = spec["url"]
        verify = spec.get("validate_certs") is not False
        started = time.monotonic()
        answer = ask(url, timeout, verify, self.port_map)
        seconds = time.monotonic() - started
        if not isinstance(answer, Response) or answer.status != (spec.get("status") or 200):
            return ProbeResult(seconds, last_answer(url, answer))
        version, instance = spec.get("version"), spec.get("instance")
        if not version and not instance:
            return ProbeResult(seconds)
        if spec.get("about_url"):
            url = spec["about_url"]
            answer = ask(url, timeout, verify, self.port_map)
        about = described(url, answer)
        runs = text_at(about, spec.get("version_field") or VERSION_FIELD)
        is_instance = text_at(about, spec.get("instance_field") or INSTANCE_FIELD)
        if instance and is_instance and is_instance != instance:
            return ProbeResult(seconds, f"{url} last answered from {is_instance}.", runs, is_instance, foreign=True)
        other = bool(version and runs and runs != str(version))
        problem = f"{url} says version {runs}, not {version}." if other else ""
        for what, wanted, found in (("version", version, runs), ("instance", instance, is_instance)):
            if wanted and not found:
                problem = f"Its answer has no {what}. {last_answer(url, answer)}"
        return ProbeResult(seconds, problem, runs, is_instance, other_version=other)

    def _wanted(self) -> str:
        parts = [str(self.spec.get("status") or 200)]
        if self.spec.get("version"):
            parts.append(f"with version {self.spec['version']}")
        if self.spec.get("instance"):
            parts.append(f"from {self.spec['instance']}")
        return " ".join(parts)

    def _too_slow(self, row: Sequence[ProbeResult]) -> str:
        bound = float(self.spec.get("max_latency") or math.inf)
        took = percentile(sorted(result.seconds for result in row), 95)
        if took <= bound:
            return ""
        return f"Its answers succeed, but take {took:.3f} s (95th percentile of {len(row)}), more than {bound:g} s."

    def _others(self) -> str:
        for url in filter(None, map(self.spec.get, ("aggregate_url", "published_url"))):
            answer = ask(url, self.request_timeout, self.spec.get("validate_certs") is not False, self.port_map)
            if not is_good(answer):
                return last_answer(url, answer)
        return ""


def count(successes: int) -> str:
    return "once" if successes == 1 else f"{successes} consecutive times"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank of ordered values."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def ask(url: str, timeout: float, verify: bool = True, port_map: PortMap | None = None) -> Response | OSError:
    try:
        return get(url, timeout, verify, port_map)
    except OSError as error:
        return error


def is_good(answer: Response | OSError) -> bool:
    return isinstance(answer, Response) and answer.status == 200


def last_answer(url: str, answer: Response | OSError) -> str:
    if isinstance(answer, OSError):
        return f"The last request to {url} got no answer: {answer.strerror or answer}."
    return f"{url} last answered {answer.status}: {redacted(answer.text[:800].strip())}"


def about(url: str, timeout: float) -> Any:
    """The JSON that a service reports about itself, or the response without it."""
    return described(url, ask(url, timeout))


def described(url: str, answer: Response | OSError) -> dict[str, Any]:
    if isinstance(answer, OSError):
        return {"error": last_answer(url, answer)}
    try:
        value = answer.json()
    except ValueError:
        value = None
    return value if answer.status == 200 and isinstance(value, dict) else {"error": last_answer(url, answer)}


def text_at(value: Any, path: str) -> str | None:
    """The value in nested mappings at a path such as build.version, as text."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def version_of(gate: Spec) -> str | None:
    """The version that a service reports, if it reports one now."""
    url = gate.get("about_url") or gate["url"]
    return text_at(about(url, float(gate.get("request_timeout") or 3)), gate.get("version_field") or VERSION_FIELD)
