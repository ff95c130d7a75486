# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ecs_roles
short_description: The IAM roles of services on Amazon ECS, with least-privilege policies
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes services as C(ecs_services) of the role C(ecs), and returns the roles that these declare in C(roles), and the
    role of the deployer.
  - The execution role may pull the declared images, write to the declared log groups and read the declared secrets;
    the task role may do what C(access) declares; the deployer may call what the modules call.
options:
  deployer_trust:
    description: The trust policy of the deployer's role; empty for the users and roles of the account.
    type: dict
    default: {}
extends_documentation_fragment:
  - evenkeel.fleet.ecs_roles
"""

EXAMPLES = r"""
- name: Show the roles
  ansible.builtin.debug:
    msg: "{{ ecs_services | evenkeel.fleet.ecs_roles('production', 'eu-central-1', '123456789012', 'deployer') }}"
"""

RETURN = r"""
_value:
  description: The roles with C(name), C(path), C(trust), C(policy_name) and C(policy).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def ecs_roles(
    services: Sequence[Mapping[str, Any]],
    cluster: str,
    region: str,
    account: str,
    deployer: str = "",
    deployer_trust: Mapping[str, Any] | None = None,
    kms_keys: Sequence[str] = (),
    secrets: Mapping[str, str] | None = None,
    canary: str = "",
    urls_parameter: str = "",
) -> list[dict[str, Any]]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.deployer_policy import SecretsPlace
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.policy_statements import ClusterPlace
    from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.role_policies import managed_roles

    moved = SecretsPlace(**secrets) if secrets else None
    place = ClusterPlace(cluster, region, account)
    return managed_roles(services, place, deployer, deployer_trust, kms_keys, moved, canary, urls_parameter)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"ecs_roles": ecs_roles}
