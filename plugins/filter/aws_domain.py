# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_domain
short_description: The domain of an AWS region's endpoints
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns the domain of endpoints, registries and service principals in a region, such as C(amazonaws.com.cn).
options:
  _input:
    description: The region.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ 'cn-north-1' | evenkeel.fleet.aws_domain }}"
"""

RETURN = r"""
_value:
  description: The domain.
  type: str
  sample: amazonaws.com.cn
"""

from collections.abc import Callable


def aws_domain(region: str) -> str:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.partitions import domain_of

    return domain_of(region)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"aws_domain": aws_domain}
