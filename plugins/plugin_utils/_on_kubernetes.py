# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of modules that call the Kubernetes API."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_controller import FORKS_SAFELY, OnController


class OnKubernetes(OnController):
    """The client is imported when Ansible loads the action, which is before it forks a process for each task."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if FORKS_SAFELY:
            with suppress(ImportError):
                import kubernetes  # noqa: F401
