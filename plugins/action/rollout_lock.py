# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.modules import rollout_lock
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import OnController


class ActionModule(OnController):
    module = rollout_lock

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        # Only where the module runs on this machine it can watch this process's parent, which is ansible-playbook.
        if self._task.args.get("keep") and self._connection.transport == "local":
            self._task.args = {**self._task.args, "controller_pid": os.getppid()}
        return super().run(tmp, task_vars)
