# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  balancer:
    description: The kind of load balancer.
    type: str
    choices: [target_group, haproxy]
    default: target_group
  target_groups:
    description: Names or ARNs of target groups. Needed with O(balancer=target_group).
    type: list
    elements: str
    aliases: [target_group]
  backends:
    description: Backends of HAProxy; without it, all that have the server.
    type: list
    elements: str
    default: []
"""
