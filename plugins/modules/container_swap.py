#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_swap
short_description: Replace a container, or put the previous one back, as one transaction
version_added: 0.2.0
author:
  - Contributors to evenkeel.fleet (@evenkeel)
description:
  - Does the whole step of a rollout on a host in one call. It pulls the image, creates the new container, stops the old
    one within its stop timeout, starts the new one, waits until it is healthy and has the wanted version, and keeps the
    old one, stopped, as C(<name>-previous).
  - If anything fails, the old container serves again, and the call fails with the cause, the exit code and the last log
    lines of the container that failed.
  - A call that is killed at any point leaves a state that the next call recovers from. The next call first puts the old
    container back, or checks the new one if it is the declared one.
  - Two containers never run at once. The old one is stopped only when everything that can be prepared is prepared.
  - With C(container.stand_in), a second container of the old image answers on the published ports meanwhile, so that no
    request fails; then two containers run at once. A call that is killed leaves it running until the next call.
options:
  container:
    description:
      - The container, declared as an entry of C(containers) in M(evenkeel.fleet.host_converge), with the same options
        and defaults. Neither module changes a container that is as declared.
      - Its C(gate) defines what is healthy. With C(gate.hold), a container that exits soon after its start has failed.
    type: dict
    required: true
  state:
    description:
      - V(swapped) makes the declared container the one that serves.
      - V(restored) puts C(<name>-previous) back as it was, without a pull; the container that it replaces becomes the
        previous one, so that a second call undoes this. Only name, gate, ports, restart policy and stop timeout of
        O(container) are used. If C(<name>-previous) does not have O(wanted_image) but O(container) does, the declared
        container is created instead.
      - V(pulled) pulls the image and does nothing else. If the image is not on the host, the module first asks the
        registry for its platforms and size, and fails before the download on another architecture or too small a disk.
        With C(container.pull=never) it only checks.
    type: str
    choices: [swapped, restored, pulled]
    default: swapped
  wanted_version:
    description:
      - The version that the container has to report in the JSON of its gate's C(about_url), or of C(url) without one.
        It overrides C(gate.version).
      - With O(state=restored), the version of the container that is put back; by default it is not checked.
    type: str
  wanted_image:
    description:
      - With O(state=restored), the image that has to serve afterwards, as a reference or a digest such as
        C(sha256:6d1e…). If the current container already has it, nothing changes. If the previous one does not have it,
        the call fails.
      - Or the id of the container that has to serve afterwards, for two containers of one image.
      - Without it, each call exchanges the two containers. A call that finds an interrupted replacement only undoes
        that one.
    type: str
  logins:
    description:
      - Logins to registries, as C(logins) in M(evenkeel.fleet.host_converge). The one at the image's registry is made
        where an image has to be pulled.
    type: list
    elements: dict
    default: []
    suboptions:
      registry:
        description: The registry.
        type: str
        required: true
      method:
        description: V(helper) uses docker's credential helper for ECR, V(token) stores a token of twelve hours.
        type: str
        choices: [helper, token]
        default: helper
      region:
        description: The registry's AWS region, for a token.
        type: str
      environment:
        description: Environment of the AWS command line and of the credential helper.
        type: dict
attributes:
  check_mode:
    support: full
    description: Changes nothing and says what would be done.
    details:
      - An image's tag is not looked up in the registry unless O(state=pulled), so that a tag that moved is not seen.
  diff_mode:
    support: full
    description: Returns the declarations before and after, with secrets hidden.
  idempotent:
    support: partial
    description: A second call with the same options changes nothing.
    details:
      - With O(state=restored) that takes O(wanted_image).
      - An image by tag is pulled each time, and the container is replaced when the tag has moved.
  platform:
    support: full
    platforms: linux
    description: Linux with a Docker engine.
requirements:
  - Python 3.9 or newer and the docker command line on the host; nothing else.
  - Root privileges.
notes:
  - One call at a time runs on a host. Another call, or one of M(evenkeel.fleet.host_converge), waits for it.
    O(state=pulled) takes no lock.
seealso:
  - module: evenkeel.fleet.health_gate
  - module: evenkeel.fleet.host_converge
"""

EXAMPLES = r"""
- name: Import the declaration of the role gateway
  ansible.builtin.import_role:
    name: evenkeel.fleet.gateway
    tasks_from: variables

- name: Pull the image on all hosts before any of them is drained
  become: true
  evenkeel.fleet.container_swap:
    container: "{{ gateway_declaration.containers[0] }}"
    state: pulled

- name: Replace the gateway on a drained host
  become: true
  evenkeel.fleet.container_swap:
    container: "{{ gateway_declaration.containers[0] }}"
    wanted_version: 2.4.1
  register: swapped

- name: Put the previous container back
  become: true
  evenkeel.fleet.container_swap:
    container: "{{ gateway_declaration.containers[0] }}"
    state: restored
    wanted_image: "{{ swapped.old.digest }}"
    wanted_version: "{{ swapped.old.version }}"

- name: Replace another container
  become: true
  evenkeel.fleet.container_swap:
    container:
      name: api
      image: registry.example.com/api@sha256:6d1e…
      ports: ["127.0.0.1:8080:3000"]
      stop_timeout: 60
      gate:
        url: http://127.0.0.1:8080/health
        successes: 5
        hold: 10
"""

RETURN = r"""
outcome:
  description:
    - V(unchanged) if the container was as wanted, or if the call failed before anything was stopped and the old
      container still serves.
    - V(swapped) if the declared container serves now.
    - V(restored) if the previous container serves again as requested, or a stopped container was started.
    - V(pulled) if the image was pulled.
    - V(rolled_back) if the call failed and the old container is back and healthy.
    - V(failed) if the call failed and no container is known to serve under the name. Check this host at once.
  returned: always
  type: str
  sample: rolled_back
old:
  description: The container that served before, or V(null).
  returned: always
  type: dict
  contains: &container
    id:
      description: The container's id.
      type: str
    image:
      description: The reference of its image.
      type: str
    digest:
      description: The digest of that image in its registry, where it is known.
      type: str
    version:
      description: The version that it reported, if its gate can read one.
      type: str
new:
  description: The new container, also if it failed. Its id is V(null) if it was not created.
  returned: always
  type: dict
  contains: *container
serving:
  description: The container that runs under the name now, or V(null).
  returned: always
  type: dict
  contains: *container
image:
  description: The declared image; with O(state=pulled), as it is on the host now.
  returned: always
  type: dict
  contains:
    reference:
      description: The reference as declared.
      type: str
    digest:
      description: The digest in its registry; of a tag only with O(state=pulled), where the image is here.
      type: str
as_declared:
  description: With O(state=pulled), whether the container that serves is of that image and has the declared settings.
  returned: always
  type: bool
exit_code:
  description: The exit code of a container that exited.
  returned: always
  type: int
log:
  description: The last lines of a container that failed, without secrets.
  returned: always
  type: list
  elements: str
needs:
  description: What the pull needs, as far as the registry reports it. The sizes are estimates.
  returned: always
  type: dict
  contains:
    architectures:
      description: The architectures of the image.
      type: list
      elements: str
    download_mb:
      description: The size of the layers to download, in MB; layers on the host may be counted as well.
      type: int
    disk_mb:
      description: The space that they need while they are unpacked, in MB.
      type: int
    free_mb:
      description: The space that is free for docker's data, in MB.
      type: int
seconds:
  description:
    - Seconds by phase, V(pull), V(create), V(stand_in), V(stop), V(start), V(gate), V(put_back) and V(total). Those
      that were not needed are C(0).
  returned: always
  type: dict
changes:
  description: What was changed, or would be in check mode.
  returned: always
  type: list
  elements: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.redact import secrets
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.argument_specs import CONTAINER, LOGIN, records
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_declaration import environment
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_swap import swap
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host


def main() -> None:
    module = AnsibleModule(
        # Else its arguments, with the environment of containers, are in the host's system log.
        no_log=True,
        argument_spec={
            "container": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["swapped", "restored", "pulled"], "default": "swapped"},
            "wanted_version": {"type": "str"},
            "wanted_image": {"type": "str"},
            "logins": {**records(**LOGIN), "default": []},
        },
        supports_check_mode=True,
    )
    container = declared_container(module)
    if os.geteuid() != 0:
        module.fail_json(msg="This module needs root privileges: set become to true.")
    host = Host(check_mode=module.check_mode)
    result, problem = swap(
        host,
        container,
        module.params["logins"],
        state=module.params["state"],
        wanted_version=module.params["wanted_version"],
        wanted_image=module.params["wanted_image"],
    )
    for warning in host.warnings:
        module.warn(warning)
    changed = bool(host.changes) and not (problem and host.check_mode)
    outcome = {"changed": changed, "changes": host.changes, "diff": host.diff, **result}
    if problem:
        module.fail_json(msg=problem, **outcome)
    module.exit_json(**outcome)


def declared_container(module: AnsibleModule) -> dict[str, Any]:
    """Checked as in host_converge, whose documentation is the one of these options."""
    checked = ArgumentSpecValidator(CONTAINER).validate(module.params["container"])
    if checked.error_messages:
        module.fail_json(msg=f"container: {' '.join(checked.error_messages)}")
    container: dict[str, Any] = checked.validated_parameters
    # They'd stand among the arguments that Ansible shows.
    module.no_log_values.update(secrets(environment(container)))
    return container


if __name__ == "__main__":
    main()
