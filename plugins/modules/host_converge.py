#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_converge
short_description: Bring a whole host to its declared state in one call
version_added: 0.1.0
author:
  - Contributors to evenkeel.fleet (@evenkeel)
description:
  - Takes what any number of roles declare about a host and applies all of it, be it packages, directories, files,
    commands, systemd units, the Docker engine, networks, access to the instance metadata service, registry logins or
    containers.
  - The number of module calls is what a bootstrap costs, so this one does the work of many; a call that changes nothing
    takes a fraction of a second.
  - Each thing is read, compared, recorded in the diff and only then applied. Files are replaced atomically. A container
    is replaced as a transaction; the old one comes back when the new one does not become healthy.
extends_documentation_fragment:
  - evenkeel.fleet.declarations
  - evenkeel.fleet.fitness.module_option
"""

EXAMPLES = r"""
- name: Bring a host to its declared state
  become: true
  evenkeel.fleet.host_converge:
    declarations:
      - name: docker
        packages:
          debian: [docker.io, docker-cli, iptables]
          redhat: [docker]
        engine:
          config:
            log-driver: json-file
            log-opts: {max-size: 10m, max-file: "3"}
            live-restore: true
      - name: imds
        packages:
          debian: [nftables]
          redhat: [nftables]
        imds:
          users: [root]
          networks: [app-net]
      - name: app_network
        networks:
          - name: app-net
      - name: gateway
        containers:
          - name: bk-gateway-api
            image: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/gateway@sha256:6d1e…
            networks: [app-net]
            ports: ["80:3000"]
            memory: 500m
            env:
              NODE_ENV: production
            gate:
              url: http://127.0.0.1/api/health
              about_url: http://127.0.0.1/api/about-me

- name: Keep foreign keys in a JSON file
  become: true
  evenkeel.fleet.host_converge:
    declarations:
      - name: agent
        files:
          - path: /etc/agent/config.json
            json: {interval: 60}
            merge: true
        commands:
          - argv: [agentctl, reload]
            when_changed: [/etc/agent/config.json]
"""

RETURN = r"""
problems:
  description: With O(fitness), what is wrong and what to do about it, one sentence or two each.
  returned: with fitness
  type: list
  elements: str
settled:
  description:
    - With O(fitness) and O(declarations), whether the host is fit and applying the declarations now would neither do
      nor warn of anything. A container that is not healthy, a tag that would be looked up and every doubt make it
      V(false).
  returned: with fitness
  type: bool
changes:
  description: What was changed, or would be in check mode. On failure, what had been changed until then.
  returned: always, without fitness
  type: list
  elements: dict
  contains:
    declaration:
      description: Who declared it.
      type: str
    resource:
      description: What was changed.
      type: str
    action:
      description: What was done to it.
      type: str
  sample:
    - declaration: docker
      resource: package docker.io
      action: install
containers:
  description: The declared containers, by name. With O(fitness), only where RV(settled).
  returned: success
  type: dict
  contains:
    id:
      description: The container's id.
      type: str
    image:
      description: The declared image.
      type: str
    digest:
      description: The digest of the image that runs.
      type: str
    status:
      description: What the engine says about it.
      type: str
    replaced:
      description: Whether it was created or replaced in this call.
      type: bool
    about:
      description: The answer of its C(about_url).
      type: dict
restarted:
  description: The units that were restarted.
  returned: success
  type: list
  elements: str
timings:
  description: Seconds spent per phase.
  returned: always
  type: dict
declaration:
  description: The declaration that failed.
  returned: failure
  type: str
resource:
  description: What failed in it.
  returned: failure
  type: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.argument_specs import DECLARATIONS, FITNESS
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.converge import converge
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError


def main() -> None:
    module = AnsibleModule(
        # Else its arguments, with the environment of containers, are in the host's system log.
        no_log=True,
        argument_spec={"declarations": DECLARATIONS, "fitness": FITNESS},
        required_one_of=[("declarations", "fitness")],
        supports_check_mode=True,
    )
    if module.params["fitness"]:
        check_fitness(module)
    if os.geteuid() != 0:
        module.fail_json(msg="This module needs the rights of root: set become to true.")
    host = Host(check_mode=module.check_mode)
    failure: dict[str, Any] = {}
    containers: dict[str, Any] = {}
    try:
        containers = converge(host, module.params["declarations"])
    except HostError as error:
        message = ": ".join(part for part in (error.declaration, error.resource, error.message) if part)
        failure = {"msg": message, "declaration": error.declaration, "resource": error.resource}
    for warning in host.warnings:
        module.warn(warning)
    changed = bool(host.changes) and not (failure and host.check_mode)
    outcome = {"changed": changed, "changes": host.changes, "diff": host.diff, "timings": host.timings}
    if failure:
        module.fail_json(**failure, **outcome)
    module.exit_json(**outcome, containers=containers, restarted=host.restarted)


def check_fitness(module: AnsibleModule) -> None:
    # Here, so that a call that applies declarations does not load it.
    from ansible_collections.evenkeel.fleet.plugins.module_utils._host.fitness import check

    try:
        result = check(module.params["declarations"] or [], module.params["fitness"])
    except OSError as error:
        module.fail_json(msg=f"The host can't be looked at: {error}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
