#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check what would stop a bootstrap, before anything changes
version_added: 0.1.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Checks the variables of the named roles against their argument specifications, on the controller, and the host
    itself in one round trip, and returns all problems. It changes nothing and does not fail by itself, so that a
    play can collect the problems of all hosts before it stops.
attributes:
  action:
    description: An action plugin of this name does the work on the controller; there is no module to run on a host.
    support: full
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Reads only.
    support: none
options:
  roles:
    description: Roles of this collection whose variables are checked.
    type: list
    elements: str
    default: []
  declarations:
    description:
      - Names of variables that hold declarations for M(evenkeel.fleet.host_converge), such as C(docker_declaration).
      - If there are no problems, RV(settled) says whether applying them would change nothing.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
extends_documentation_fragment:
  - evenkeel.fleet.fitness
"""

EXAMPLES = r"""
- name: Check what would stop the bootstrap
  evenkeel.fleet.preflight:
    roles: [docker, gateway]
    ports:
      - port: 80
        container: bk-gateway-api
    endpoints:
      - database.example.com:5432
  register: preflight

- name: Stop on any problem
  ansible.builtin.fail:
    msg: "{{ preflight.problems | join('\n') }}"
  when: preflight.problems | length > 0
"""

RETURN = r"""
problems:
  description: What is wrong and what to do about it, one sentence or two each.
  returned: always
  type: list
  elements: str
  sample: ["gateway_image is not set: The image, by digest."]
settled:
  description: Whether applying O(declarations) now would neither do nor warn of anything, and there are no problems.
  returned: always
  type: bool
containers:
  description: Where RV(settled), the declared containers, as M(evenkeel.fleet.host_converge) returns them; else empty.
  returned: always
  type: dict
"""
