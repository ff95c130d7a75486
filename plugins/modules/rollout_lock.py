#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_lock
short_description: Acquire, renew, release or break the lock on changing the fleet or a service
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - One rollout at a time holds the lock. It is a row in the gateways' database with holder, reason and expiry.
  - Each O(scope) has a lock of its own, so that a deployment to Amazon ECS does not block a rollout of the gateways.
  - The lock of a controller that died expires after O(ttl), and the next rollout takes it over. Every module that is
    given the rollout's id renews it. With O(keep), it is renewed in the background, too.
  - The proof of the lock is RV(rollout_id), which is never used twice. A controller that was stopped and lost the lock
    meanwhile is refused at its next step.
options:
  state:
    description:
      - V(acquired) acquires the lock, unless another rollout holds it. Missing tables are created.
      - V(renewed) renews it and writes O(steps). It fails if the lock is lost. An expired lock that no other rollout
        acquired can be renewed.
      - V(released) ends the rollout with O(result). A second release changes nothing.
      - V(broken) ends the rollout of another controller, whose next step is refused. O(reason) goes into its journal.
    type: str
    choices: [acquired, renewed, released, broken]
    required: true
  scope:
    description:
      - What is locked. V(fleet) is the fleet of gateways.
      - C(ecs/<cluster>/<service>) is a service on Amazon ECS, C(kubernetes/<namespace>/<name>) one on Kubernetes. Its
        lock needs the database, and nothing else of the gateways. The cluster may be given by its ARN.
      - Every call on the lock needs the same scope.
    type: str
    default: fleet
    version_added: 0.3.0
  reason:
    description: The reason, shown to others who want the lock. Required for V(acquired) and V(broken).
    type: str
  holder:
    description: The holder, as C(user@host). The default is the user and host of this machine.
    type: str
  digest:
    description: The digest of the image that the rollout brings.
    type: str
  wait:
    description:
      - Seconds to wait until the lock is free or has expired.
      - If several controllers wait, the first one to ask after that acquires it.
      - While it waits on the controller, a line names the holder each half minute.
    type: float
    default: 0
  result:
    description: How the rollout ended. Required for V(released).
    type: str
    choices: [succeeded, failed]
  keep:
    description:
      - With V(acquired), renew the lock in the background for as long as C(ansible-playbook) runs, so that O(ttl) may
        be short. If C(ansible-playbook) ends without having released it, such as by Ctrl-C, SIGTERM or SIGKILL,
        release it as failed. If the background process is killed as well, the lock expires after O(ttl).
      - A controller that is stopped (SIGSTOP) does not renew it.
      - It works where the module runs on the controller, over the connection C(local). RV(kept) says whether it does.
    type: bool
    default: false
  controller_pid:
    description: The process during whose life the lock is renewed. The module's action plugin gives it.
    type: int
extends_documentation_fragment:
  - evenkeel.fleet.database
  - evenkeel.fleet.rollout
attributes:
  check_mode:
    description: Answers as it would, and changes nothing. RV(rollout_id) is none where a lock would be acquired.
    support: full
  diff_mode:
    description: Shows the holder of the lock before and after.
    support: full
seealso:
  - module: evenkeel.fleet.rollout_info
"""

EXAMPLES = r"""
- name: Acquire the lock
  evenkeel.fleet.rollout_lock:
    database: "{{ fleet_database }}"
    state: acquired
    reason: gateway 1.4.0
    digest: sha256:6d1ef2a…
    wait: 60
  register: rollout
  delegate_to: localhost
  run_once: true

- name: Record what was done on a host
  evenkeel.fleet.rollout_lock:
    database: "{{ fleet_database }}"
    state: renewed
    rollout_id: "{{ rollout.rollout_id }}"
    steps:
      - {host: gateway-a, step: pull, result: succeeded, seconds: 3.4}
  delegate_to: localhost

- name: End the rollout
  evenkeel.fleet.rollout_lock:
    database: "{{ fleet_database }}"
    state: released
    rollout_id: "{{ rollout.rollout_id }}"
    result: succeeded
  delegate_to: localhost
  run_once: true

- name: End the rollout of a controller that is known to be dead
  evenkeel.fleet.rollout_lock:
    database: "{{ fleet_database }}"
    state: broken
    reason: the CI runner was terminated
  delegate_to: localhost
  run_once: true

- name: Lock one service on Amazon ECS
  evenkeel.fleet.rollout_lock:
    database: "{{ fleet_database }}"
    scope: ecs/production/permissions
    state: acquired
    reason: permissions 2.1.0
  register: deployment
  delegate_to: localhost
"""

RETURN = r"""
rollout_id:
  description: The id with which the following calls prove the lock; of a broken lock, the rollout that held it.
  returned: success
  type: int
  sample: 17
lock:
  description: The lock afterwards; if it was refused, the lock of the other holder.
  returned: success, and when another rollout holds it
  type: dict
  contains:
    rollout_id: {description: The rollout., type: int, returned: always, sample: 17}
    scope: {description: What is locked., type: str, returned: always, sample: fleet}
    holder: {description: Its holder., type: str, returned: always, sample: ci@runner-3}
    host: {description: The host of its holder., type: str, returned: always, sample: runner-3}
    reason: {description: Its reason., type: str, returned: always, sample: gateway 1.4.0}
    digest: {description: The image's digest., type: str, returned: always}
    since: {description: Since when., type: str, returned: always}
    expires_at: {description: When it ends unless it is renewed., type: str, returned: always}
    expires_in: {description: The same in seconds. Negative when it has ended., type: float, returned: always}
    expired: {description: Whether it has ended without being released., type: bool, returned: always}
    finished_at: {description: When the rollout ended., type: str, returned: always}
    result: {description: How it ended. V(abandoned) after its lock expired or was broken., type: str, returned: always}
    seconds: {description: How long it took up to now., type: float, returned: always}
took_over:
  description: The rollout whose lock had expired, if one was taken over; like RV(lock).
  returned: when acquired
  type: dict
interrupted:
  description:
    - Hosts that were taken out of service and not put back, by this rollout where it was released, else by others.
    - Check them first, as they may be deregistered from the load balancer. Then put them back with
      M(evenkeel.fleet.instance_drain). Until then they do not count as in service.
  returned: when acquired, released or broken
  type: list
  elements: dict
  contains:
    host: {description: Its name in the inventory., type: str, returned: always, sample: gateway-a}
    instance_id: {description: Its instance id., type: str, returned: always}
    rollout_id: {description: The rollout that took it out of service., type: int, returned: always}
    since: {description: When., type: str, returned: always}
    by: {description: The holder of that rollout., type: str, returned: always, sample: ops@desk}
    reason:
      description: Why it is kept out of service until it is put back on purpose; none if its rollout was interrupted.
      type: str
      returned: always
cleared:
  description: The instances whose draining mark of an ended rollout was removed. They may be elected again.
  returned: when acquired or broken
  type: list
  elements: str
kept:
  description: Whether the lock is renewed in the background. If not, O(ttl) has to be longer than each step.
  returned: when acquired
  type: bool
waited:
  description: Seconds until the lock was free.
  returned: when acquired
  type: float
refusal:
  description: V(locked) if another rollout holds the lock, V(lost) if it is lost, else none.
  returned: failure
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb import lock_keeper, rollout_lock
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.database import Database
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import (
    DATABASE,
    HOLDER,
    ROLLOUT,
    SCOPE,
    STALE_AFTER,
    holder_of,
    renewal_of,
    run,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.rollout_lock import LockRenewal


def work(database: Database, options: dict[str, Any], check_mode: bool, say: Callable[[str], None]) -> dict[str, Any]:
    renewal = renewal_of(options)
    if options["state"] == "acquired":
        result = rollout_lock.acquire(
            database,
            holder=holder_of(options),
            reason=options["reason"],
            digest=options["digest"],
            wait=options["wait"],
            renewal=renewal,
            stale_after=options["stale_after"],
            check_mode=check_mode,
            say=say,
        )
        return {**result, "kept": not check_mode and kept(database, result["rollout_id"], renewal, options)}
    if options["state"] == "renewed":
        return rollout_lock.renew(database, renewal=renewal, check_mode=check_mode)
    if options["state"] == "released":
        return rollout_lock.release(database, result=options["result"], renewal=renewal, check_mode=check_mode)
    return rollout_lock.break_(
        database,
        rollout_id=options["rollout_id"],
        by=holder_of(options),
        reason=options["reason"],
        stale_after=options["stale_after"],
        check_mode=check_mode,
        scope=renewal.scope,
    )


def kept(database: Database, rollout_id: int, renewal: LockRenewal, options: dict[str, Any]) -> bool:
    """Whether a process in the background renews the lock from now on."""
    if not options["keep"] or options["controller_pid"] is None:
        return False
    database.close()
    return lock_keeper.start(database.settings, rollout_id, renewal.ttl, options["controller_pid"], renewal.scope)


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "database": DATABASE,
            "stale_after": STALE_AFTER,
            "scope": SCOPE,
            **ROLLOUT,
            "state": {
                "type": "str",
                "choices": ["acquired", "renewed", "released", "broken"],
                "required": True,
            },
            "reason": {"type": "str"},
            "holder": HOLDER,
            "digest": {"type": "str"},
            "wait": {"type": "float", "default": 0},
            "result": {"type": "str", "choices": ["succeeded", "failed"]},
            "keep": {"type": "bool", "default": False},
            "controller_pid": {"type": "int"},
        },
        required_if=[
            ("state", "acquired", ["reason"]),
            ("state", "renewed", ["rollout_id"]),
            ("state", "released", ["rollout_id", "result"]),
            ("state", "broken", ["reason"]),
        ],
        supports_check_mode=True,
    )
    run(module, lambda database: work(database, module.params, module.check_mode, module.log))


if __name__ == "__main__":
    main()
