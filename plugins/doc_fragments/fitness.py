# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is checked for: the options of preflight, and the suboptions of host_converge's option fitness."""

from __future__ import annotations

from textwrap import indent

_OPTIONS = r"""
ports:
  description: TCP ports that the host has to have free.
  type: list
  elements: dict
  default: []
  suboptions:
    port:
      description: The port.
      type: int
      required: true
    container:
      description: The container that is to have it, and may have it already.
      type: str
      required: true
endpoints:
  description:
    - What the host has to reach over TCP, each as C(host:port).
    - Ports 443 and 80 are reached by the proxy that the declarations, the engine or the host set for them.
  type: list
  elements: str
  default: []
min_disk_mb:
  description: Required free space on the file system of docker's data (C(data-root)), in MB.
  type: int
  default: 1000
min_memory_mb:
  description: Required memory, in MB.
  type: int
  default: 400
timeout:
  description: Seconds within which an endpoint has to answer.
  type: float
  default: 5
"""


class ModuleDocFragment:
    # Annotated: ansible-test's yamllint reads a plain assignment and expects a literal.
    DOCUMENTATION: str = "options:" + indent(_OPTIONS, "  ")
    MODULE_OPTION: str = (
        r"""
options:
  fitness:
    description:
      - Only check whether the host is fit for a bootstrap, and return the problems. Changes nothing.
      - With O(declarations), also check whether applying them would change anything; see RV(settled).
      - M(evenkeel.fleet.preflight) calls it and checks the roles' variables as well.
    type: dict
    suboptions:"""
        + indent(_OPTIONS, "      ")
        + r"""      controller_time:
        description: The controller's clock in seconds since the epoch, with which the host's is compared.
        type: float
"""
    )
