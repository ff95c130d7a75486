#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_swap
short_description: Replace a container by a new one, or put the old one back, as one transaction
version_added: 0.2.0
author:
  - Contributors to evenkeel.fleet (@evenkeel)
description:
  - Does a rollout's whole step on a host in one call. It pulls the image, creates the new container, stops the old one
    within its grace, starts the new one, waits until it is healthy and of the wanted version, and keeps the old one,
    stopped, as C(<name>-previous).
  - Whatever fails, the old container serves again, and the call fails with the cause, the exit code and the last lines
    of the one that failed.
  - A call that is killed, at whatever point, leaves a state that the next call knows. Before all else that one puts
    the old container back, or proves the new one where it is the declared one.
  - Never do two containers run, and the old one is stopped only once everything that can be done beforehand is done.
  - With C(container.stand_in) a second container of the old image answers on the published ports meanwhile, so that not
    one request fails; then there are two at a time. A call that is killed leaves it there until the next one.
options:
  container:
    description:
      - The container, declared as an entry of C(containers) in M(evenkeel.fleet.host_converge), with the same options
        and defaults. A container that is as declared is left alone by either module.
      - Its C(gate) decides what is healthy. C(gate.hold) makes a container that ends soon after its start a failed one.
    type: dict
    required: true
  state:
    description:
      - V(swapped) makes the declared container the one that serves.
      - V(restored) puts C(<name>-previous) back as it was, without any pull; the one that it replaces becomes the
        previous one, so that this can be undone the same way. Only name, gate, ports, restart policy and grace of
        O(container) are used; all of it where C(<name>-previous) isn't of O(wanted_image) and O(container) is, which
        takes its place then.
      - V(pulled) pulls the image and does nothing else. Where it isn't there yet, the registry is asked first what it
        takes, so that another architecture or a disk too small is said before anything is fetched. With
        C(container.pull=never) it only looks.
    type: str
    choices: [swapped, restored, pulled]
    default: swapped
  wanted_version:
    description:
      - The version that the container has to say it is, in the JSON of its gate's C(about_url), or of C(url) where
        there is none. It takes the place of C(gate.version).
      - With O(state=restored), the version of the one that comes back; without it none is asked for.
    type: str
  wanted_image:
    description:
      - With O(state=restored), the image that is to serve then, as a reference or a digest such as C(sha256:6d1e…).
        Where the current container is of it already, nothing changes; where the previous one isn't, the call fails.
      - Without it, each call exchanges the two. A call that finds a replacement interrupted then only undoes that.
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
  - The rights of root.
notes:
  - One call at a time works on a host; another one, or one of M(evenkeel.fleet.host_converge), waits for it.
    O(state=pulled) neither waits nor makes others wait.
seealso:
  - module: evenkeel.fleet.health_gate
  - module: evenkeel.fleet.host_converge
"""

EXAMPLES = r"""
- name: Know what the role gateway declares
  ansible.builtin.import_role:
    name: evenkeel.fleet.gateway
    tasks_from: variables

- name: Have the image on all hosts before any of them is drained
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

- name: Go back to the container of before
  become: true
  evenkeel.fleet.container_swap:
    container: "{{ gateway_declaration.containers[0] }}"
    state: restored
    wanted_image: "{{ swapped.old.digest }}"
    wanted_version: "{{ swapped.old.version }}"

- name: A container of one's own
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
    - V(unchanged) if the container was as wanted, or the call failed before anything was stopped and what served serves
      on.
    - V(swapped) if the declared container serves now.
    - V(restored) if one from before serves again as asked for, or a container that was found stopped was started.
    - V(pulled) if the image was pulled.
    - V(rolled_back) if the call failed and the old container is back and healthy.
    - V(failed) if the call failed and no container is known to serve under the name. Look at this host at once.
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
      description: The version that it said it was, where its gate can see one.
      type: str
new:
  description: The container that was to serve, also where it failed. Its id is V(null) where it was not created.
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
  description: The exit code of a container that failed by ending.
  returned: always
  type: int
log:
  description: The last lines of a container that failed, without secrets.
  returned: always
  type: list
  elements: str
needs:
  description: What the pull takes, asked of the registry before it, where the registry told. The sizes are estimates.
  returned: always
  type: dict
  contains:
    architectures:
      description: The architectures that the image is made for.
      type: list
      elements: str
    download_mb:
      description: The size of the layers to fetch, in MB; those that are here already may be counted as well.
      type: int
    disk_mb:
      description: The space that they take while they are unpacked, in MB.
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
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_body import environment
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_spec import CONTAINER, LOGIN, records
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.swap import swap


def main() -> None:
    module = AnsibleModule(
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
        module.fail_json(msg="This module needs the rights of root: set become to true.")
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
