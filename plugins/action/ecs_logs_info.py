# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.utils.display import Display

from ansible_collections.evenkeel.fleet.plugins.modules import ecs_logs_info
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_aws import OnAws
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import InProcessModule


class Showing(InProcessModule):
    """Shows lines as they come."""

    def log(self, msg: str) -> None:
        Display().display(msg)


class ActionModule(OnAws):
    module = ecs_logs_info
    made_as = Showing
