# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a fleet of gateways say before a cutover gives them other URLs. Imports without Ansible."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import probe

Kept = Mapping[str, Any]
TAG = re.compile(r":[^:/]*$")


def problems(
    kept: Mapping[str, Kept],
    targets: Sequence[probe.ProbeTarget],
    *,
    parameter: str,
    slower: float,
    asked: bool,
) -> list[str]:
    """By host, why it can't get other URLs.

    kept: by host, what container_info returned in `runs`, what url_probe did in `answers`, if it was `asked`, and
    gateway_urls_parameter in `parameter`.
    """
    found = []
    for host, one in kept.items():
        wrong = list(_of_a_host(one, parameter, asked))
        found += [f"{host}: {words}" for words in wrong]
        if asked and not wrong:
            found += [f"from {host}: {words}" for words in probe.problems(one["answers"]["log"], targets, slower)]
    images = {host: image_of(one) for host, one in kept.items() if image_of(one)}
    if len(set(images.values())) > 1:
        each = ", ".join(f"{host} {image}" for host, image in images.items())
        found.append(f"the hosts run different images ({each}): roll out one of them with rolling_update.yml first")
    return found


def undone(kept: Mapping[str, Kept], *, planned: bool = False) -> list[str]:
    """Why the rollout did not give all hosts their URLs: `why` of those without `rolled_out`.

    planned: in check mode, a rollout ends after its plan, and only one that is refused says why.
    """
    words: dict[str, None] = {}
    for one in kept.values():
        if not one.get("rolled_out"):
            words |= dict.fromkeys(_sentences(one.get("why")))
    if not words and not planned and not all(one.get("rolled_out") for one in kept.values()):
        return ["The URLs were not rolled out; see the failed task above."]
    return list(words)


def _of_a_host(one: Kept, parameter: str, asked: bool) -> Iterator[str]:
    runs = one.get("runs") or {"msg": "it was not reached"}
    container, answers = runs.get("container"), one.get("answers") or {}
    if runs.get("msg") or runs.get("engine_error"):
        yield " ".join(_sentences(runs.get("msg") or runs["engine_error"]))
    elif not container or container["status"] != "running":
        yield "its gateway does not run (status.yml shows more)"
    elif one.get("parameter") != parameter:
        yield (
            f"gateway_urls_parameter is {one.get('parameter') or 'empty'} for it, and {parameter} for localhost: set "
            "it for all, such as in group_vars/all.yml"
        )
    elif asked and "log" not in answers:
        yield f"it did not ask the services: {answers.get('msg') or 'see the failed task'}"


def _sentences(found: Any) -> list[str]:
    """Of a task that failed, whose msg may be a list."""
    return [found] if isinstance(found, str) and found else [str(each) for each in found or []]


def image_of(one: Kept) -> str:
    """The reference of the image that it runs, by digest where that is known; "" where nothing is known."""
    container = (one.get("runs") or {}).get("container") or {}
    image, digest = str(container.get("image") or ""), str(container.get("digest") or "")
    if not digest:
        return image
    return f"{TAG.sub('', image.partition('@')[0])}@{digest.rpartition('@')[2]}"
