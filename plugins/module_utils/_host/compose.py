# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of a compose file as a container's declaration, as docker compose would run it on one machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_declaration import duration
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import HostError

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>\w+)|\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<other>[^}]*))?\}|(?P<odd>.?))", re.DOTALL
)
_PUBLISHED = re.compile(r"(?:(?:[0-9.]+|\[[0-9a-f:]+\]):)?\d+:\d+(?:/tcp)?")
_SECOND = 10**9

# Compose's name of each option that is passed on as it is.
_AS_IT_IS = {
    "cap_drop": "cap_drop",
    "extra_hosts": "extra_hosts",
    "healthcheck": "healthcheck",
    "init": "init",
    "labels": "labels",
    "ports": "ports",
    "read_only": "read_only",
    "restart": "restart_policy",
    "security_opt": "security_opt",
    "tmpfs": "tmpfs",
    "user": "user",
}
_TRANSLATED = {
    "command",
    "container_name",
    "deploy",
    "env_file",
    "environment",
    "image",
    "logging",
    "mem_limit",
    "stop_grace_period",
    "volumes",
}


class ComposeError(Exception):
    """Every problem of the file, one per line."""


def expand(value: Any, variables: Mapping[str, str]) -> Any:
    """Replace C($NAME), C(${NAME}), C(${NAME:-default}) and C(${NAME:?message}) in all texts; C($$) is a C($)."""
    if isinstance(value, Mapping):
        return {key: expand(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [expand(each, variables) for each in value]
    return _VARIABLE.sub(lambda found: _variable(found, variables), value) if isinstance(value, str) else value


def _variable(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["escaped"]:
        return "$"
    name = found["plain"] or found["name"]
    if not name:
        raise ComposeError(f"{found[0]!r}: not a variable like ${{NAME}}; write $$ for a dollar sign")
    how, known = found["how"] or "", name in variables
    if known and (variables[name] or not how.startswith(":")):
        return variables[name]
    if how.endswith("-"):
        return found["other"]
    if how.endswith("?") or not known:
        # Compose takes an unknown one for an empty text, and the container starts without its value.
        raise ComposeError(f"{name}: not set" + (f": {found['other']}" if how.endswith("?") else ""))
    return ""


def environment_file(text: str, name: str) -> dict[str, str]:
    """Read C(NAME=value) lines as every engine reads them."""
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.strip().partition("=")
        if not equals or not key or key != key.strip():
            problems.append(f"{name}: line {number}: not NAME=value")
        elif value[:1] in ("'", '"') and value[-1:] == value[:1]:
            problems.append(f"{name}: {key}: write it without quotes, which Swarm keeps and Compose removes")
        else:
            values[key] = value
    if problems:
        raise ComposeError("\n".join(problems))
    return values


def files_of(service: Mapping[str, Any]) -> list[str]:
    """The paths of its env_file, as written."""
    paths = service.get("env_file") or []
    return [paths] if isinstance(paths, str) else list(paths)


def container_of(service: Mapping[str, Any], *, name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The declaration, without network and gate. `environment` is that of the env_file; raises ComposeError."""
    problems = [f"{key}: not supported here; remove it, or use docker compose" for key in service if key not in _KNOWN]
    container: dict[str, Any] = {"name": service.get("container_name") or name}
    if service.get("image"):
        container["image"] = service["image"]
    else:
        problems.append("image: not set; an image is not built here")
    container.update({ours: service[theirs] for theirs, ours in _AS_IT_IS.items() if service.get(theirs) is not None})
    container["env"] = {**environment, **_pairs(service.get("environment"))}
    if isinstance(container.get("labels"), list):
        container["labels"] = _pairs(container["labels"])
    if isinstance(service.get("command"), str):
        problems.append("command: write it as a list")
    elif service.get("command"):
        container["command"] = service["command"]
    problems += _volumes(service.get("volumes") or [], container)
    problems += _ports(service.get("ports") or [])
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    problems += [f"deploy.resources.limits.{key}: not supported here" for key in limits if key != "memory"]
    memory = service.get("mem_limit") or limits.get("memory")
    if memory:
        container["memory"] = str(memory).lower()
    logging = service.get("logging") or {}
    if logging:
        container["log_driver"], container["log_options"] = logging.get("driver"), logging.get("options") or {}
    try:
        container["stop_timeout"] = duration(service.get("stop_grace_period") or "10s") // _SECOND
    except HostError as error:
        problems.append(f"stop_grace_period: {error}")
    if problems:
        raise ComposeError("\n".join(problems))
    return container


_KNOWN = {*_AS_IT_IS, *_TRANSLATED}


def _ports(entries: Sequence[Any]) -> list[str]:
    if not entries:
        return ["ports: none is published"]
    return [f"ports: {entry}: write it like 80:3000" for entry in entries if not _PUBLISHED.fullmatch(str(entry))]


def _pairs(values: Mapping[str, Any] | Sequence[str] | None) -> dict[str, str]:
    if isinstance(values, Mapping):
        pairs = values.items()
        return {key: _text(value) for key, value in pairs if value is not None}
    return {key: value for key, _equals, value in (entry.partition("=") for entry in values or [])}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _volumes(entries: Sequence[Any], container: dict[str, Any]) -> list[str]:
    problems = []
    for entry in entries:
        if isinstance(entry, str) and ":" in entry:
            container.setdefault("volumes", []).append(entry)
        elif isinstance(entry, Mapping) and entry.get("type") == "tmpfs" and entry.keys() == {"type", "target"}:
            container["tmpfs"] = [*container.get("tmpfs", []), entry["target"]]
        else:
            problems.append(f"volumes: {entry}: neither SOURCE:TARGET nor a tmpfs with its target")
    return problems
