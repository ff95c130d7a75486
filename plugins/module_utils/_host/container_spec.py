# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a container, a login and a gate, as the modules that take them check them."""

from __future__ import annotations

from typing import Any


def strings(**more: Any) -> dict[str, Any]:
    return dict(type="list", elements="str", **more)


def records(**options: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options}


HEALTHCHECK = {
    "type": "dict",
    "options": {
        "test": strings(),
        "interval": {"type": "str"},
        "timeout": {"type": "str"},
        "retries": {"type": "int"},
        "start_period": {"type": "str"},
    },
}
GATE = {
    "type": "dict",
    "options": {
        "url": {"type": "str", "required": True},
        "about_url": {"type": "str"},
        "timeout": {"type": "int", "default": 90},
        "successes": {"type": "int", "default": 2},
        "interval": {"type": "float", "default": 0.5},
        "request_timeout": {"type": "float", "default": 3},
        "version": {"type": "str"},
        "version_field": {"type": "str", "default": "version"},
        "hold": {"type": "float", "default": 0},
    },
}
CONTAINER: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "pull": {"type": "str", "choices": ["missing", "always", "never"]},
    "pull_environment": {"type": "dict", "default": {}},
    "pull_timeout": {"type": "int", "default": 600},
    "networks": strings(),
    "network_aliases": strings(),
    "ports": strings(),
    "env": {"type": "dict"},
    "volumes": strings(),
    "tmpfs": strings(),
    "read_only": {"type": "bool", "default": False},
    "cap_drop": strings(),
    "security_opt": strings(),
    "user": {"type": "str"},
    "command": strings(),
    "labels": {"type": "dict"},
    "restart_policy": {"type": "str", "default": "unless-stopped"},
    "memory": {"type": "str"},
    "log_driver": {"type": "str"},
    "log_options": {"type": "dict"},
    "stop_timeout": {"type": "int", "default": 30},
    "init": {"type": "bool"},
    "healthcheck": HEALTHCHECK,
    "extra_hosts": strings(),
    "stand_in": {"type": "bool", "default": False},
    "gate": GATE,
}
LOGIN = {
    "registry": {"type": "str", "required": True},
    "method": {"type": "str", "choices": ["helper", "token"], "default": "helper"},
    "region": {"type": "str"},
    "environment": {"type": "dict"},
}
