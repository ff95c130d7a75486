# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kubernetes_status
short_description: The state of a gateway on Kubernetes as data and as text
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes C(deployment) as M(evenkeel.fleet.deployment_rollout_info) returns it.
options:
  _input:
    description: The Deployment.
    type: dict
    required: true
  name:
    description: Its name.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  color:
    description: The colour that the Service selects.
    type: str
    default: ""
  leader:
    description: The result of M(evenkeel.fleet.leader_info).
    type: dict
  journal:
    description: The result of M(evenkeel.fleet.rollout_info).
    type: dict
  autoscalers:
    description: The HorizontalPodAutoscalers of the namespace.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show the gateway
  ansible.builtin.debug:
    msg: "{{ (found.deployment | evenkeel.fleet.kubernetes_status(name='gateway', namespace='gateway')).lines }}"
"""

RETURN = r"""
_value:
  description: The Deployment.
  type: dict
  contains:
    status:
      description:
        - C(schema), the version of this structure, which grows when it changes; C(problems), sentences; C(pods), each
          with C(name), C(ready), C(updated), C(image), C(restarts), C(leads) and C(trouble); C(way_back) (where a
          rollback goes), C(last_rollout), C(autoscaler), C(leader) and C(lock).
      type: dict
    lines:
      description: The same as text, the table of pods first.
      type: list
      elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.filter.text_table import text_table


def kubernetes_status(
    deployment: Mapping[str, Any],
    *,
    name: str,
    namespace: str,
    color: str = "",
    leader: Mapping[str, Any] | None = None,
    journal: Mapping[str, Any] | None = None,
    autoscalers: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.status import rows, status_of, words

    status = status_of(
        deployment,
        name=name,
        namespace=namespace,
        color=color,
        leader=leader,
        journal=journal,
        autoscalers=autoscalers,
    )
    return {"status": status, "lines": [*text_table(rows(status)), *words(status)]}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"kubernetes_status": kubernetes_status}
