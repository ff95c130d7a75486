# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: recorded_tags
short_description: Tags with the tag that records them
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns the tags and C(evenkeel:tags), by which M(evenkeel.fleet.purge_tags) finds those that are no longer
    declared.
  - Returns nothing where there are no tags.
options:
  _input:
    description: The tags, at most 49.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Create the topic
  community.aws.sns_topic:
    name: gateways-alarms
    tags: "{{ {'team': 'web'} | evenkeel.fleet.recorded_tags }}"
    purge_tags: false
"""

RETURN = r"""
_value:
  description: The tags.
  type: dict
  sample: {"team": "web", "evenkeel:tags": "3sAhK"}
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def recorded_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.pairs import texts
    from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.tags import recorded
    from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

    try:
        return recorded(texts(tags))
    except OperationError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., dict[str, str]]]:
        return {"recorded_tags": recorded_tags}
