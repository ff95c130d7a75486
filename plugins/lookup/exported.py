# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: exported
short_description: Exported environment variables as a dictionary, with everything that is missing in one error
version_added: 0.3.0
author: Contributors to evenkeel.fleet (@evenkeel)
description:
  - Returns environment variables of the controller by their names. Where some are missing, it fails once and names all.
  - A secret in plain text is refused and not shown, because it could be read in the task definition.
options:
  _terms:
    description: Names of variables that must be set and not be empty. C(A|B) is at least one of both.
    type: list
    elements: str
    required: true
  may_be_empty:
    description: Names of variables that must be set. An empty one turns something off.
    type: list
    elements: str
    default: []
  defaults:
    description: The values of variables that are not set, or empty, by their names. C($NAME) in one is another of them.
    type: dict
    default: {}
  secrets:
    description: Variables whose value, if there is one, is the ARN of a secret or parameter.
    type: list
    elements: str
    default: []
  timestamps:
    description:
      - Variables whose default is the time of the run, as C(20261129140501), which is the same in the whole run.
      - The value is the name of a switch among O(defaults), or empty. If the switch is true, the variable is required.
    type: dict
    default: {}
  prefix:
    description: All other variables that begin with it are returned, too, unless it is empty.
    type: str
    default: ""
seealso:
  - plugin: evenkeel.fleet.container_variables
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the variables of a service
  ansible.builtin.debug:
    msg: >-
      {{ lookup('evenkeel.fleet.exported', 'AWS_REGION', 'EPR_DATABASE_URL', defaults={'TASK_CPU': '512'},
                secrets=['EPR_DATABASE_URL'], prefix='EPR_') }}
"""

RETURN = r"""
_raw:
  description: One dictionary with the values, which are texts, by the names of the variables.
  type: list
  elements: dict
"""

import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.exported import Wanted, read


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no types
    def run(self, terms: Sequence[str], variables: Any = None, **options: Any) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=options)
        chosen = self.get_options()
        wanted = Wanted(
            required=tuple(terms),
            may_be_empty=tuple(chosen["may_be_empty"]),
            defaults=chosen["defaults"],
            stamped=chosen["timestamps"],
            secrets=frozenset(chosen["secrets"]),
            prefix=chosen["prefix"],
        )
        try:
            return [read(os.environ, wanted, time_of_run)]
        except OperationError as error:
            raise AnsibleError(str(error)) from error


def time_of_run() -> str:
    """Of the first call in this run: a variable is evaluated often, and in many processes."""
    folder = Path(constants.DEFAULT_LOCAL_TMP)
    kept, mine = folder / "evenkeel-time", folder / f"evenkeel-time-{uuid.uuid4()}"
    if not kept.exists():
        mine.write_text(time.strftime("%Y%m%d%H%M%S", time.gmtime()))
        try:
            # Unlike a rename it fails where another process was first.
            os.link(mine, kept)
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    return kept.read_text()
