#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: leader_handover
short_description: Hand the leadership of the fleet over to another instance
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Asks the leader, through the lease in the database, to resign in favour of another instance, and waits until that
    one holds the lease in a higher term. For a moment no instance leads; RV(gap) says for how long.
  - It refuses a target that is unknown, draining, without a fresh heartbeat, or out of service for a rollout, and any
    handover while another rollout holds the lock or another request is pending.
  - After O(timeout), the request is withdrawn. If the controller dies meanwhile, the request expires.
options:
  target:
    description: The instance that becomes the leader.
    type: str
  among:
    description:
      - Without O(target), the instances of which one becomes the leader, such as those that are updated already.
      - The oldest of them that is in service is chosen. If one of them leads already, nothing is changed.
    type: list
    elements: str
  version:
    description:
      - Without O(target), the version that the new leader has to run. If the leader runs it, nothing is changed.
    type: str
  timeout:
    description: Seconds within which the other instance has to lead; also the time to wait while no instance leads.
    type: float
    default: 30
  holder:
    description: The holder of the request, as C(user@host). The default is the user and host of this machine.
    type: str
  reason:
    description: The reason, for the gateways' logs and for the message that refuses another request.
    type: str
    default: handover by an operator
extends_documentation_fragment:
  - evenkeel.fleet.database
  - evenkeel.fleet.rollout
attributes:
  check_mode:
    description: Returns which instance would lead, or why that would be refused.
    support: full
  diff_mode:
    description: Shows the leader before and after.
    support: full
seealso:
  - module: evenkeel.fleet.leader_info
"""

EXAMPLES = r"""
- name: Hand over to an updated instance before the old leader is drained
  evenkeel.fleet.leader_handover:
    database: "{{ fleet_database }}"
    rollout_id: "{{ rollout.rollout_id }}"
    among: "{{ updated_instance_ids }}"
    reason: rolling update
  register: handover
  delegate_to: localhost
  run_once: true

- name: Hand over to a certain instance
  evenkeel.fleet.leader_handover:
    database: {host: database.internal, name: gateway, user: gateway, password_file: /run/secrets/database}
    target: i-0a1b2c3d4e5f60718
    reason: maintenance of the leader's host
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
old:
  description: The leader before.
  returned: success
  type: str
  sample: i-0a1b2c3d4e5f60718
new:
  description: The leader now.
  returned: success
  type: str
  sample: i-0918f7e6d5c4b3a21
old_term:
  description: The term before.
  returned: success
  type: int
  sample: 12
term:
  description: The term now. One more than before, unless there was another election meanwhile.
  returned: success
  type: int
  sample: 13
gap:
  description: Seconds in which no instance held the lease, by the database's clock; none with older gateways.
  returned: success
  type: float
  sample: 0.021
refusal:
  description:
    - Why it was refused, as a code for playbooks, else none.
    - V(locked), V(lost) (the lock of O(rollout_id) is), V(pending), V(no_leader), V(unknown), V(stale), V(draining) or
      V(no_candidate).
  returned: always
  type: str
leader:
  description: The leader.
  returned: when it failed and that is known
  type: str
instances:
  description: All instances as M(evenkeel.fleet.leader_info) returns them.
  returned: when it was refused for what they are
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.handover import HandoverRequest, hand_over
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import (
    DATABASE,
    HOLDER,
    ROLLOUT,
    STALE_AFTER,
    holder_of,
    renewal_of,
    run,
)


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "database": DATABASE,
            "stale_after": STALE_AFTER,
            **ROLLOUT,
            "target": {"type": "str"},
            "among": {"type": "list", "elements": "str"},
            "version": {"type": "str"},
            "timeout": {"type": "float", "default": 30},
            "holder": HOLDER,
            "reason": {"type": "str", "default": "handover by an operator"},
        },
        mutually_exclusive=[("target", "among"), ("target", "version")],
        supports_check_mode=True,
    )
    options = module.params
    request = HandoverRequest(
        holder_of(options), options["reason"], options["target"], options["among"], options["version"]
    )
    run(
        module,
        lambda database: hand_over(
            database,
            request,
            timeout=options["timeout"],
            renewal=renewal_of(options),
            stale_after=options["stale_after"],
            check_mode=module.check_mode,
        ),
    )


if __name__ == "__main__":
    main()
