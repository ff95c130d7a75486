# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask URLs from within a network, by a one-off task, and judge what it logs. Imports without Ansible."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .declarations import main_container

CONTAINER = "probe"
CPU, MEMORY = "256", "512"
REQUESTS = 9
# A smaller difference in seconds is not worth a refusal.
NOTICED = 0.05
# Whatever the image has: its arguments are the number of requests and the URLs. It logs a line for each request.
SCRIPT = r"""
if command -v python3 >/dev/null 2>&1; then exec python3 -c "$PROBE_PYTHON" "$@"
elif command -v node >/dev/null 2>&1; then exec node -e "$PROBE_NODE" "$@"
fi
requests=$1; shift; index=0
for url in "$@"; do
  count=0
  while [ $count -lt "$requests" ]; do
    if command -v curl >/dev/null 2>&1; then
      told=$(curl -s -o /dev/null -m 5 -w '%{http_code} %{time_total}' "$url") || told="000 0"
    elif command -v wget >/dev/null 2>&1; then
      if wget -q -T 5 -O /dev/null "$url"; then told="200 -"; else told="000 -"; fi
    else
      echo "probe: the image has neither python3, node, curl nor wget"; exit 3
    fi
    echo "probe $index $told"
    count=$((count + 1))
  done
  index=$((index + 1))
done
"""
PYTHON = r"""
import sys, time, urllib.error, urllib.request
for index, url in enumerate(sys.argv[2:]):
    for _ in range(int(sys.argv[1])):
        began, told = time.monotonic(), "000"
        try:
            with urllib.request.build_opener().open(url, timeout=5) as answer:
                answer.read()
                told = answer.status
        except urllib.error.HTTPError as error:
            told = error.code
        except Exception as error:
            print("probe-error", index, type(error).__name__, error)
        print("probe", index, told, round(time.monotonic() - began, 4))
"""
NODE = r"""
(async () => { const [n, ...urls] = process.argv.slice(1);
for (const [index, url] of urls.entries()) for (let i = 0; i < n; i++) {
  const began = Date.now(); let told = "000";
  try { const answer = await fetch(url, {signal: AbortSignal.timeout(5000)}); await answer.text();
        told = answer.status }
  catch (error) { console.log("probe-error", index, error.name, String(error.cause || error.message)) }
  console.log("probe", index, told, (Date.now() - began) / 1000) } })()
"""
LINE = re.compile(r"\bprobe (\d+) (\d{3}) ([\d.]+|-)\s*$")
ERROR = re.compile(r"\bprobe-error (\d+) (.*)$")


@dataclass(frozen=True)
class ProbeTarget:
    """A service by its internal URL, and by the one that it is compared with, or ""."""

    name: str
    url: str
    other: str = ""


def family_of(client: str) -> str:
    """Of the task definition that asks in place of the service `client`."""
    return f"{client}-probe"


def task_of(client: Mapping[str, Any], image: str = "") -> dict[str, Any]:
    """A task definition like that of the client, a declared service, with one container that asks."""
    task: Mapping[str, Any] = client["task"]
    main = main_container(task)
    listed: Sequence[Mapping[str, Any]] = task.get("containerDefinitions") or []
    container: Mapping[str, Any] = next((one for one in listed if one.get("name") == main), {})
    kept = ("networkMode", "requiresCompatibilities", "executionRoleArn", "runtimePlatform")
    return {
        "family": family_of(str(client["name"])),
        "cpu": CPU,
        "memory": MEMORY,
        **{key: task[key] for key in kept if task.get(key)},
        "containerDefinitions": [
            {
                "name": CONTAINER,
                "image": image or (client.get("images") or {}).get(main) or container.get("image", ""),
                "essential": True,
                "entryPoint": ["sh", "-c", SCRIPT, "probe"],
                "environment": [{"name": "PROBE_PYTHON", "value": PYTHON}, {"name": "PROBE_NODE", "value": NODE}],
                **({"logConfiguration": container["logConfiguration"]} if container.get("logConfiguration") else {}),
            }
        ],
    }


def arguments(targets: Sequence[ProbeTarget]) -> list[str]:
    """Of the container's command."""
    return [str(REQUESTS), *urls_of(targets)]


def problems(log: Sequence[str], targets: Sequence[ProbeTarget], slower: float) -> list[str]:
    """What is wrong with the internal URLs. `slower`: how many times as long as the other URL one may take."""
    urls = urls_of(targets)
    statuses: list[list[int]] = [[] for _url in urls]
    seconds: list[list[float]] = [[] for _url in urls]
    errors = {}
    for line in log:
        if (found := LINE.search(line)) and int(found.group(1)) < len(urls):
            statuses[int(found.group(1))].append(int(found.group(2)))
            if found.group(3) != "-" and int(found.group(2)):
                seconds[int(found.group(1))].append(float(found.group(3)))
        elif failed := ERROR.search(line):
            errors[int(failed.group(1))] = failed.group(2)
    found_wrong = []
    for target in targets:
        index = urls.index(target.url)
        bad = [status for status in statuses[index] if not 200 <= status < 400]
        if not statuses[index]:
            found_wrong.append(f"{target.name}: the probe logged nothing of {target.url}")
        elif bad:
            why = errors.get(index) or (f"status {bad[-1]}" if bad[-1] else "no answer")
            found_wrong.append(
                f"{target.name}: {len(bad)} of {len(statuses[index])} requests to {target.url} failed: {why}"
            )
        elif target.other:
            usual = seconds[urls.index(target.other)]
            found_wrong += _too_slow(target, seconds[index], usual, slower)
    return found_wrong


def _too_slow(target: ProbeTarget, ours: Sequence[float], usual: Sequence[float], slower: float) -> list[str]:
    if not ours or not usual:
        return []
    now, was = median(ours), median(usual)
    if now <= was * slower or now - was <= NOTICED:
        return []
    return [
        f"{target.name}: {target.url} answers in {now:.3f} s, and {target.other} in {was:.3f} s (at most {slower:g} "
        "times as long is allowed)"
    ]


def urls_of(targets: Sequence[ProbeTarget]) -> list[str]:
    """In the order in which the log counts them."""
    return list(dict.fromkeys(url for target in targets for url in (target.url, target.other) if url))
