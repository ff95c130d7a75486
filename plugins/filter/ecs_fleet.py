# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_fleet
short_description: Whether the hosts of a fleet of gateways can get other URLs of services
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Judges what the hosts said before a cutover of services on Amazon ECS.
options:
  _input:
    description:
      - By host, C(runs), which M(evenkeel.fleet.container_info) returned of its gateway, C(answers), which
        M(evenkeel.fleet.url_probe) returned, and C(parameter), its C(gateway_urls_parameter). After a rollout,
        C(rolled_out), or C(why) it failed.
    type: dict
    required: true
  parameter:
    description: What C(parameter) must be.
    type: str
    required: true
  asked:
    description: Whether the hosts asked the services.
    type: bool
    default: false
  targets:
    description: The services that were asked, as for P(evenkeel.fleet.ecs_probe#filter).
    type: list
    elements: dict
    default: []
  slower:
    description: How many times as long as C(other) the URL of a service may take.
    type: float
    default: 3
  planned:
    description: Whether the rollout was only planned, in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the image that all hosts run
  ansible.builtin.debug:
    msg: "{{ (seen | evenkeel.fleet.ecs_fleet(parameter='/shop/gateway-urls')).image }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems) are sentences about what was seen before, C(undone) about the rollout. C(image) is the image that all
      hosts run, by digest where that is known.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_fleet(
    kept: Mapping[str, Mapping[str, Any]],
    *,
    parameter: str,
    asked: bool = False,
    targets: Sequence[Mapping[str, str]] = (),
    slower: float = 3,
    planned: bool = False,
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs import fleet_cutover
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.probe import ProbeTarget

    services = [ProbeTarget(one["name"], one["url"], one.get("other", "")) for one in targets]
    return {
        "problems": fleet_cutover.problems(kept, services, parameter=parameter, slower=float(slower), asked=asked),
        "undone": fleet_cutover.undone(kept, planned=planned),
        "image": next(filter(None, map(fleet_cutover.image_of, kept.values())), ""),
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ecs_fleet": ecs_fleet}
