# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: canary_verdict
short_description: Compare hosts that have a new image with the others
version_added: 0.2.0
description:
  - Compares samples that M(evenkeel.fleet.metrics_watch) took on the hosts at the same time. The rules are in
    docs/reference/playbooks/canary.md.
  - The verdict is unclear if there were too few requests to detect what is not allowed. The role then treats it as
    condemned.
author: Contributors to evenkeel.fleet (@evenkeel)
positional: _input
options:
  _input:
    description: By host, the C(samples) of the canary hosts.
    type: dict
    required: true
  others:
    description: The same for the hosts that they are compared with.
    type: dict
    required: true
  slower:
    description: How much larger the mean duration may be, as a fraction.
    type: float
    default: 0.025
  errors:
    description: How much larger the fraction of responses with status 5xx may be.
    type: float
    default: 0.005
"""

EXAMPLES = r"""
- name: Show the verdict
  ansible.builtin.debug:
    msg: "{{ {'gateway-a': new.samples} | evenkeel.fleet.canary_verdict(others={'gateway-b': old.samples}) }}"
"""

RETURN = r"""
_value:
  description: C(result) (V(promoted), V(condemned) or V(unclear)), C(words), the reasons, and C(figures) of both sides.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Watched = Mapping[str, Sequence[Mapping[str, Any]]]


def canary_verdict(
    canaries: Watched, *, others: Watched, slower: float = 0.025, errors: float = 0.005
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._rollout import canary

    def samples(watched: Watched) -> dict[str, list[canary.Sample]]:
        return {host: [sample(told) for told in of_it] for host, of_it in watched.items()}

    def sample(told: Mapping[str, Any]) -> canary.Sample:
        routes = {
            route: canary.Traffic(
                float(traffic["requests"]),
                float(traffic["errors"]),
                float(traffic["seconds"]),
                {float(bound): float(count) for bound, count in traffic["within"].items()},
            )
            for route, traffic in told["routes"].items()
        }
        return canary.Sample(int(told["window"]), float(told["process"]), routes)

    verdict = canary.judge(samples(canaries), samples(others), canary.Limits(float(slower), float(errors)))
    return {"result": verdict.result, "words": list(verdict.words), "figures": dict(verdict.figures)}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"canary_verdict": canary_verdict}
