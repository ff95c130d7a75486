#!/usr/bin/python
# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Check the variables of all roles before anything changes
version_added: 0.2.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Compares the values that the hosts of the play have for the variables of this collection's roles with the roles'
    argument specifications. It fails with the names of all that do not match.
  - Ansible checks a role's variables when the role begins. By then, an earlier role may have changed something.
  - It runs on the controller and connects to no host. Once per play is enough.
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
options: {}
"""

EXAMPLES = r"""
- name: Check the variables of all roles
  evenkeel.fleet.check_variables:
  run_once: true
"""

RETURN = r"""
msg:
  description: What is wrong, a sentence or two for each variable.
  returned: failure
  type: list
  elements: str
  sample: ["Nothing was changed.", "iam_apply is maybe, which is neither true nor false."]
"""
