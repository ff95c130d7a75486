#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_info
short_description: Get the last rollouts and the lock on the fleet or a service
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Reads the journal of the rollouts from the gateways' database, with the digest of each host before and after, the
    lock on the fleet, and the hosts that a rollout left out of service.
options:
  scope:
    description: The fleet or a service, as in M(evenkeel.fleet.rollout_lock). Nothing of another scope is returned.
    type: str
    default: fleet
    version_added: 0.3.0
  rollout_id:
    description: Only this rollout.
    type: int
  last:
    description: How many rollouts, from the newest.
    type: int
    default: 5
  steps:
    description: Whether to return each rollout's steps, too.
    type: bool
    default: true
extends_documentation_fragment:
  - evenkeel.fleet.database
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Reads only.
    support: none
notes:
  - The option O(stale_after) has no effect here. It exists so that the modules can share C(module_defaults).
seealso:
  - module: evenkeel.fleet.rollout_lock
"""

EXAMPLES = r"""
- name: Get what the hosts ran before the last rollout
  evenkeel.fleet.rollout_info:
    database: "{{ fleet_database }}"
    last: 1
  register: journal
  delegate_to: localhost
  run_once: true

- name: Show it
  ansible.builtin.debug:
    msg: "{{ item.key }} ran {{ item.value.before }}"
  loop: "{{ (journal.rollouts | first).hosts | dict2items }}"

- name: Get the last deployments of a service on Amazon ECS
  evenkeel.fleet.rollout_info:
    database: "{{ fleet_database }}"
    scope: ecs/production/permissions
  delegate_to: localhost
"""

RETURN = r"""
lock:
  description:
    - The open rollout, like RV(rollouts); null if there is none.
    - If C(expired) is true, its lock has expired, and another rollout may take it over.
  returned: always
  type: dict
rollouts:
  description: The rollouts, from the newest.
  returned: always
  type: list
  elements: dict
  contains:
    rollout_id: {description: Its id., type: int, returned: always, sample: 17}
    scope: {description: What it changed., type: str, returned: always, sample: fleet}
    holder: {description: The user that started it., type: str, returned: always, sample: ci@runner-3}
    host: {description: The machine that it was started on., type: str, returned: always, sample: runner-3}
    reason: {description: The reason that was given., type: str, returned: always, sample: gateway 1.4.0}
    digest: {description: The digest that it rolled out., type: str, returned: always}
    since: {description: When it started., type: str, returned: always}
    expires_at: {description: When its lock expires or expired., type: str, returned: always}
    expires_in: {description: Seconds until then., type: float, returned: always}
    expired: {description: Whether its lock expired without being released., type: bool, returned: always}
    finished_at: {description: When it ended., type: str, returned: always}
    result:
      description: V(succeeded), V(failed), or V(abandoned) where its lock expired or was broken; none while it is open.
      type: str
      returned: always
    seconds: {description: Its duration in seconds up to now., type: float, returned: always}
    hosts:
      description: The hosts with at least one step, by name.
      returned: always
      type: dict
      contains:
        instance_id: {description: Its instance id., type: str, returned: always}
        before:
          description:
            - The digest that it ran before, from its step C(plan), else from the last C(swap) of an earlier rollout.
            - If the rollout resumed an interrupted or failed one, the digest from before that one.
          type: str
          returned: always
        after: {description: "The digest that it was brought to, by its step C(swap).", type: str, returned: always}
        step: {description: Its last step., type: str, returned: always}
        result: {description: The result of that step., type: str, returned: always}
        state: {description: V(out) if it was not put back into service., type: str, returned: always}
        seconds: {description: The total duration of its steps., type: float, returned: always}
    inherited:
      description:
        - The digest by host, for hosts that have no step in this rollout and got its image from an unfinished rollout
          that it resumed. The digest is what the host ran before that one.
      returned: always
      type: dict
    steps:
      description: The steps in order.
      returned: with O(steps)
      type: list
      elements: dict
      contains:
        at: {description: When it ended., type: str, returned: always}
        actor: {description: The user that did it., type: str, returned: always}
        host: {description: The host; V(*) for the whole fleet., type: str, returned: always}
        instance_id: {description: Its instance id., type: str, returned: always}
        digest: {description: The image's digest., type: str, returned: always}
        step: {description: The name of the step., type: str, returned: always}
        result: {description: Its result., type: str, returned: always}
        seconds: {description: How long it took., type: float, returned: always}
        detail: {description: Further information., type: str, returned: always}
interrupted:
  description: Hosts that a rollout took out of service and that were not put back.
  returned: always
  type: list
  elements: dict
  contains:
    host: {description: Its name in the inventory., type: str, returned: always, sample: gateway-a}
    instance_id: {description: Its instance id., type: str, returned: always}
    rollout_id: {description: The rollout., type: int, returned: always}
    since: {description: When it was taken out., type: str, returned: always}
    by: {description: The user that took it out., type: str, returned: always, sample: ops@desk}
    reason:
      description: Why it is kept out of service; null if an interrupted rollout left it out.
      type: str
      returned: always
"""

from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.history import rollouts
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import (
    DATABASE,
    SCOPE,
    STALE_AFTER,
    run,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.scope import scope_of


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "database": DATABASE,
            "stale_after": STALE_AFTER,
            "scope": SCOPE,
            "rollout_id": {"type": "int"},
            "last": {"type": "int", "default": 5},
            "steps": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    options = module.params
    run(
        module,
        lambda database: {
            "changed": False,
            **rollouts(
                database,
                rollout_id=options["rollout_id"],
                last=options["last"],
                steps=options["steps"],
                scope=scope_of(options["scope"]),
            ),
        },
    )


if __name__ == "__main__":
    main()
