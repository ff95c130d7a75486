#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: leader_info
short_description: Get the leader and the instances of the fleet
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Reads the leader, its term, the end of its lease and every instance with its heartbeat from the gateways' database.
    It needs only the tables C(ec2_launch) and C(ec2_heartbeat); older gateways have no C(leader_lease).
  - If the database is out of reach, it can ask each gateway at C(/api/about-me).
  - An answer that is not reliable is an error, such as two leaders, no leader, a leader without a heartbeat, or a
    gateway that does not answer.
options:
  source:
    description:
      - Where to ask.
      - With V(auto), the database; if it is out of reach and O(urls) are given, the gateways. A wrong password or
        database name is an error in any case.
    type: str
    choices: [auto, database, http]
    default: auto
  urls:
    description: The addresses of all gateways. C(/api/about-me) is added to those without a path.
    type: list
    elements: str
    default: []
  request_timeout:
    description: Seconds within which a gateway has to answer.
    type: float
    default: 3
  on_doubt:
    description: Whether to fail if the leader is in doubt, or to return the reasons in RV(doubts).
    type: str
    choices: [fail, report]
    default: fail
  wait:
    description: Seconds for which to repeat the query until there is no doubt. An election takes less.
    type: float
    default: 3
extends_documentation_fragment:
  - evenkeel.fleet.database
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Reads only.
    support: none
seealso:
  - module: evenkeel.fleet.leader_handover
  - module: evenkeel.fleet.rollout_info
"""

EXAMPLES = r"""
- name: Get the leader
  evenkeel.fleet.leader_info:
    database: "{{ fleet_database }}"
    urls: "{{ groups.gateways | map('extract', hostvars, 'ansible_host') | map('regex_replace', '^', 'http://') }}"
  register: fleet
  delegate_to: localhost
  run_once: true

- name: Get what is known, also if the leader is in doubt
  evenkeel.fleet.leader_info:
    database: {host: database.internal, name: gateway, user: gateway, password_file: /run/secrets/database}
    on_doubt: report
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
leader:
  description: The instance id of the leader; none if no instance leads or if that is not known.
  returned: always
  type: str
  sample: i-0a1b2c3d4e5f60718
term:
  description: Its term, a number that grows with each election; none where the gateways have no lease.
  returned: always
  type: int
  sample: 12
lease_left:
  description: Seconds until its lease ends unless it is renewed; none without a lease, and from the gateways.
  returned: always
  type: float
  sample: 13.207
instances:
  description: All instances, from the oldest to the youngest. What only the database knows is none from the gateways.
  returned: always
  type: list
  elements: dict
  contains: &instance
    instance_id: {description: Its instance id., type: str, returned: always, sample: i-0a1b2c3d4e5f60718}
    private_ip: {description: Its address in the network., type: str, returned: always, sample: 10.0.1.10}
    public_ip: {description: Its public address., type: str, returned: always}
    launched_at: {description: When the machine was launched., type: str, returned: always}
    version: {description: The gateway's version., type: str, returned: always, sample: 1.4.0}
    heartbeat_age: {description: Seconds since its last heartbeat., type: float, returned: always, sample: 2.113}
    draining_since: {description: Since when it is marked as draining., type: str, returned: always}
    fresh: {description: Whether its heartbeat is not stale., type: bool, returned: always}
    leads: {description: Whether it is the leader., type: bool, returned: always}
    in_service:
      description: Whether it is fresh, not draining, and not taken out of service by a rollout.
      type: bool
      returned: always
source:
  description: What was asked, V(database) or V(http).
  returned: always
  type: str
  sample: database
doubts:
  description: Why the answer is not reliable.
  returned: always
  type: list
  elements: str
  sample: []
database_error:
  description: Why the database was not asked.
  returned: when it was out of reach and the gateways were asked instead
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.database import Database
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import DatabaseError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.leader import (
    from_database,
    from_gateways,
    refuse_doubts,
    settled,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import (
    DATABASE,
    STALE_AFTER,
    refuse_no_database,
    run,
)


def main(make: Callable[..., AnsibleModule] = AnsibleModule) -> None:
    module = make(
        argument_spec={
            "database": DATABASE,
            "stale_after": STALE_AFTER,
            "source": {"type": "str", "choices": ["auto", "database", "http"], "default": "auto"},
            "urls": {"type": "list", "elements": "str", "default": []},
            "request_timeout": {"type": "float", "default": 3},
            "on_doubt": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
            "wait": {"type": "float", "default": 3},
        },
        required_if=[("source", "http", ["urls"])],
        supports_check_mode=True,
    )
    options = module.params

    def look(database: Database) -> dict[str, Any]:
        result = ask(database)
        if options["on_doubt"] == "fail":
            refuse_doubts(result)
        return {"changed": False, **result}

    def ask(database: Database) -> dict[str, Any]:
        def gateways() -> dict[str, Any]:
            return settled(lambda: from_gateways(options["urls"], options["request_timeout"]), options["wait"])

        if options["source"] == "http":
            return gateways()
        try:
            refuse_no_database(options["database"])
            return settled(lambda: from_database(database, options["stale_after"]), options["wait"])
        except DatabaseError as error:
            if not (options["source"] == "auto" and options["urls"] and error.out_of_reach):
                raise
            module.warn(
                f"The gateways were asked which of them leads, because the database is out of reach. {error.message}"
            )
            return {**gateways(), "database_error": error.message}

    run(module, look, needs_database=False)


if __name__ == "__main__":
    main()
