# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of modules that call AWS."""

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.client import prepare
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import FORKS_SAFELY, OnController


class OnAws(OnController):
    """boto3 is imported when Ansible loads the action, which is before it forks a process for each task."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if FORKS_SAFELY:
            prepare()
