#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_drain
short_description: Ask for permission to drain an instance, or put it back in service
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Asks the database, in one transaction that holds off elections and other calls, whether an instance may be taken
    out of service now, and marks it as draining if so. It is refused while the instance leads, while no instance leads,
    while too few others would be in service, and while another rollout holds the lock. If the database does not
    answer, the permission is refused.
  - An instance that is draining is not elected. It still serves; taking it out of the load balancer is what comes next.
  - For a rollout, the journal remembers that the instance is out until this module puts it back, also when its row in
    the database vanishes meanwhile because its gateway is replaced. The mark of a rollout that is over is removed
    when the next one begins, or when its lock is broken, unless it was set with a O(reason).
options:
  instance_id:
    description: The instance.
    type: str
    required: true
  state:
    description:
      - V(drained) asks for the permission and marks the instance.
      - V(active) removes the mark, and has the instance counted as in service again. It is refused without a fresh
        heartbeat.
    type: str
    choices: [drained, active]
    default: drained
  min_in_service:
    description:
      - How many others have to be in service at least. Those count that have a fresh heartbeat, are not draining and
        are not out of service for a rollout. Needed for V(drained).
    type: int
  alone:
    description:
      - Whether a leader may be drained where no other instance in service could take over, so in a fleet of one.
      - O(min_in_service) has to be V(0) then. The instance is not marked, so that its successor may lead.
    type: bool
    default: false
  reason:
    description:
      - Why the instance is kept out of service, such as for maintenance of its host, with V(drained) and O(rollout_id).
      - It is not elected and does not count as in service until an operator puts it back, however many rollouts begin
        meanwhile. Their messages say who keeps it out, and why.
    type: str
  wait:
    description:
      - For how many seconds to ask again where the refusal may pass by itself, which are RV(refusal) V(no_leader),
        V(too_few), V(stale) and V(unknown), or while another session holds a lock on the lease.
    type: float
    default: 0
  host:
    description: Its name in the inventory, for the journal. The instance id, where it is not given.
    type: str
  holder:
    description: Name of the caller in the journal, without O(rollout_id). By default this machine's user and name.
    type: str
extends_documentation_fragment:
  - evenkeel.fleet.database
  - evenkeel.fleet.rollout
attributes:
  check_mode:
    description: Answers as it would, and changes nothing.
    support: full
  diff_mode:
    description: Shows the instance's mark, and whether it is in service.
    support: full
seealso:
  - module: evenkeel.fleet.rollout_lock
  - module: evenkeel.fleet.leader_handover
"""

EXAMPLES = r"""
- name: Ask whether this host may be drained
  evenkeel.fleet.instance_drain:
    database: "{{ fleet_database }}"
    rollout_id: "{{ rollout.rollout_id }}"
    instance_id: "{{ gateway_instance_id }}"
    host: "{{ inventory_hostname }}"
    min_in_service: 2
    wait: 20
  register: permit
  # A host that turned leader meanwhile comes last.
  failed_when: permit is failed and permit.refusal | default(none) != 'leading'
  delegate_to: localhost

- name: Put it back in service, and record what was done
  evenkeel.fleet.instance_drain:
    database: "{{ fleet_database }}"
    rollout_id: "{{ rollout.rollout_id }}"
    instance_id: "{{ gateway_instance_id }}"
    host: "{{ inventory_hostname }}"
    state: active
    wait: 20
    steps:
      - {host: "{{ inventory_hostname }}", step: swap, result: succeeded, digest: "{{ swap.digest }}", seconds: 6.2}
  delegate_to: localhost
"""

RETURN = r"""
refusal:
  description:
    - Why it was refused, as a code for playbooks; none where it was permitted, and where it could not be asked.
    - V(leading), V(no_leader), V(too_few), V(locked) (another rollout holds the fleet), V(lost) (the lock of
      O(rollout_id) is), V(unknown) or V(stale).
  returned: always
  type: str
  sample: leading
in_service:
  description: The instances in service, afterwards.
  returned: when the database answered
  type: list
  elements: str
  sample: [i-0918f7e6d5c4b3a21]
leader:
  description: The instance that leads.
  returned: when the database answered
  type: str
  sample: i-0918f7e6d5c4b3a21
instance_id:
  description: The instance.
  returned: when the database answered
  type: str
  sample: i-0a1b2c3d4e5f60718
instances:
  description: All instances as M(evenkeel.fleet.leader_info) returns them, as they were when it was decided.
  returned: when the database answered
  type: list
  elements: dict
draining_since:
  description: Since when the instance is marked as draining.
  returned: success
  type: str
waited:
  description: Seconds until it was permitted.
  returned: success
  type: float
  sample: 0.0
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.drain_permit import (
    Drain,
    PutBack,
    ServiceChange,
    carry_out,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import (
    DATABASE,
    HOLDER,
    ROLLOUT,
    STALE_AFTER,
    holder_of,
    renewal_of,
    run,
)


def change_of(options: dict[str, Any]) -> ServiceChange:
    if options["state"] == "active":
        return PutBack()
    return Drain(options["min_in_service"], options["alone"], options["reason"])


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "database": DATABASE,
            "stale_after": STALE_AFTER,
            **ROLLOUT,
            "instance_id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "active"], "default": "drained"},
            "min_in_service": {"type": "int"},
            "alone": {"type": "bool", "default": False},
            "reason": {"type": "str"},
            "wait": {"type": "float", "default": 0},
            "host": {"type": "str"},
            "holder": HOLDER,
        },
        required_if=[("state", "drained", ["min_in_service"])],
        required_by={"reason": ["rollout_id"]},
        supports_check_mode=True,
    )
    options = module.params
    run(
        module,
        lambda database: carry_out(
            database,
            change_of(options),
            instance_id=options["instance_id"],
            host=options["host"] or options["instance_id"],
            by=holder_of(options),
            wait=options["wait"],
            renewal=renewal_of(options),
            stale_after=options["stale_after"],
            check_mode=module.check_mode,
        ),
    )


if __name__ == "__main__":
    main()
