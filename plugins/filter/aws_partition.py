# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_partition
short_description: The partition of an AWS region
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns what ARNs in a region begin with, such as C(aws-cn).
options:
  _input:
    description: The region.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show it
  ansible.builtin.debug:
    msg: "{{ 'cn-north-1' | evenkeel.fleet.aws_partition }}"
"""

RETURN = r"""
_value:
  description: The partition.
  type: str
  sample: aws-cn
"""

from collections.abc import Callable


def aws_partition(region: str) -> str:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.partitions import partition_of

    return partition_of(region)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"aws_partition": aws_partition}
