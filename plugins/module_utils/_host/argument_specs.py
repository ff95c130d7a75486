# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs of the modules that converge, query or swap resources of a host."""

from __future__ import annotations

from typing import Any


def strings(**more: Any) -> dict[str, Any]:
    return dict(type="list", elements="str", **more)


def records(**options: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options}


def _per_os(**more: Any) -> dict[str, Any]:
    return dict(
        type="dict", options={"debian": {"type": "str"}, "redhat": {"type": "str"}, "amazon": {"type": "str"}}, **more
    )


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
OWNER = {"type": "str", "default": "root"}
PACKAGES = {
    "type": "dict",
    "options": {"debian": strings(), "redhat": strings(), "amazon": strings(), "unless_command": {"type": "str"}},
}
PACKAGE_FILES = records(
    name={"type": "str", "required": True},
    url=_per_os(required=True),
    checksum=_per_os(),
    signature=_per_os(),
    signature_key={"type": "str", "no_log": False},
)
DIRECTORIES = records(
    path={"type": "path", "required": True},
    mode={"type": "str", "default": "0755"},
    owner=OWNER,
    group=OWNER,
)
FILES = records(
    path={"type": "path", "required": True},
    content={"type": "str"},
    secret_content={"type": "str", "no_log": True},
    json={"type": "dict"},
    merge={"type": "bool", "default": False},
    mode={"type": "str"},
    owner=OWNER,
    group=OWNER,
    validate=strings(),
)
COMMANDS = records(
    argv=strings(required=True),
    when_changed={"type": "list", "elements": "path"},
    creates={"type": "path"},
    timeout={"type": "int", "default": 300},
)
UNITS = records(
    name={"type": "str", "required": True},
    content={"type": "str"},
    enabled={"type": "bool"},
    state={"type": "str", "choices": ["started", "stopped"]},
    restart_when_changed={"type": "list", "elements": "path"},
)
ENGINE = {
    "type": "dict",
    "options": {
        "config": {"type": "dict"},
        "restart_running": {"type": "bool", "default": False},
        "forwarding": {"type": "bool", "default": False},
    },
}
NETWORKS = records(
    name={"type": "str", "required": True},
    driver={"type": "str", "default": "bridge"},
    subnet={"type": "str"},
    gateway={"type": "str"},
    labels={"type": "dict"},
    options={"type": "dict"},
    internal={"type": "bool", "default": False},
    ipv6={"type": "bool", "default": False},
)
IMDS = {
    "type": "dict",
    "options": {
        "mode": {"type": "str", "choices": ["restrict", "allow", "absent"], "default": "restrict"},
        "users": strings(default=["root"]),
        "networks": strings(default=[]),
    },
}
DECLARATIONS = {
    "type": "list",
    "elements": "dict",
    "options": {
        "name": {"type": "str", "required": True},
        "packages": PACKAGES,
        "package_files": PACKAGE_FILES,
        "directories": DIRECTORIES,
        "files": FILES,
        "commands": COMMANDS,
        "units": UNITS,
        "engine": ENGINE,
        "networks": NETWORKS,
        "imds": IMDS,
        "logins": records(**LOGIN),
        "containers": records(**CONTAINER),
    },
}
FITNESS = {
    "type": "dict",
    "options": {
        "ports": records(port={"type": "int", "required": True}, container={"type": "str", "required": True})
        | {"default": []},
        "endpoints": strings(default=[]),
        "min_disk_mb": {"type": "int", "default": 1000},
        "min_memory_mb": {"type": "int", "default": 400},
        "timeout": {"type": "float", "default": 5},
        "controller_time": {"type": "float"},
    },
}
