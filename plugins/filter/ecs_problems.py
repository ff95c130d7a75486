# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_problems
short_description: What is wrong with declared services of Amazon ECS
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes services as C(ecs_services) of the role C(ecs), and returns a sentence for each problem that can be seen
    without AWS, such as a name that is too long, or a scaling policy on an unknown metric.
extends_documentation_fragment:
  - evenkeel.fleet.ecs_roles
"""

EXAMPLES = r"""
- name: Check the declared services
  ansible.builtin.fail:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_problems('production', 'eu-central-1', '123456789012') }}"
"""

RETURN = r"""
_value:
  description: The sentences; empty if nothing is wrong.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_problems(
    services: Sequence[Mapping[str, Any]],
    cluster: str,
    region: str,
    account: str,
    deployer: str = "",
    kms_keys: Sequence[str] = (),
    secrets: Mapping[str, str] | None = None,
    canary: str = "",
    urls_parameter: str = "",
) -> list[str]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.declaration_problems import problems
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.deployer_policy import SecretsPlace
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace

    moved = SecretsPlace(**secrets) if secrets else None
    return problems(services, ClusterPlace(cluster, region, account), deployer, kms_keys, moved, canary, urls_parameter)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"ecs_problems": ecs_problems}
