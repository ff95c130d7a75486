# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's declaration: as the body of an API request, and compared with an existing container."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from .._common.redact import HIDDEN, shown_environment
from .container_state import CONFIG_LABEL, SPEC_LABEL
from .host import HostError, Spec

SIZES = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
DURATIONS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
# How it is replaced, not what it is.
ON_THE_WAY = ("gate", "pull", "pull_timeout", "pull_environment", "stand_in")
# What is compared with the container. An image is compared by its id: another name of it replaces nothing.
COMPARED = ("image", "memory", "restart_policy")


def size(text: Any) -> int:
    match = re.fullmatch(r"(\d+)\s*([bkmg]?)(?:i?b)?", str(text).strip().lower())
    if not match:
        raise HostError(f"The size {text!r} isn't a number with b, k, m or g, such as 500m.")
    return int(match.group(1)) * SIZES[match.group(2)]


def duration(text: Any) -> int:
    """Nanoseconds of 500ms, 30s, 1m30s; a bare number is seconds."""
    value = str(text).strip().lower()
    if re.fullmatch(r"\d+", value):
        value += "s"
    parts = re.findall(r"(\d+)(ms|s|m|h)", value)
    if "".join(number + unit for number, unit in parts) != value or not parts:
        raise HostError(f"The duration {text!r} isn't of a form such as 500ms, 30s or 1m30s.")
    return sum(int(number) * DURATIONS[unit] for number, unit in parts)


def port(text: Any) -> tuple[str, str, str]:
    """Host address, host port and container port with its protocol, of [address:]host:container[/protocol]."""
    match = re.fullmatch(
        r"(?:(?P<address>[\d.]+|\[[0-9a-fA-F:]+\]):)?(?P<host>\d+):(?P<inner>\d+)(?:/(?P<kind>tcp|udp|sctp))?",
        str(text),
    )
    if not match:
        raise HostError(f"The port {text!r} isn't of the form [address:]host:container[/protocol], such as 80:3000.")
    return (match["address"] or "").strip("[]"), match["host"], f"{match['inner']}/{match['kind'] or 'tcp'}"


def environment(spec: Spec) -> dict[str, str]:
    """YAML's true becomes the text true; null leaves a variable out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (spec.get("env") or {}).items()
        if value is not None
    }


def strings(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items()}


def memory(spec: Spec) -> int:
    return size(spec["memory"]) if spec.get("memory") else 0


def restart_policy(spec: Spec) -> dict[str, Any]:
    name, _separator, count = str(spec.get("restart_policy") or "no").partition(":")
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise HostError(f"The restart policy {name!r} is not one of no, always, unless-stopped and on-failure[:count].")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def limits(spec: Spec) -> dict[str, Any]:
    """What can be changed in place, as the body of an API request."""
    return {"Memory": memory(spec), "RestartPolicy": restart_policy(spec)}


def matches(spec: Spec, container: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> bool:
    """Whether a container is of this image and has the declared settings, but for its limits."""
    if container is None:
        return False
    labels = container["Config"].get("Labels") or {}
    same_image = image is not None and container["Image"] == image["Id"]
    # A memory limit can be changed in place, but not taken away.
    limited = bool(container["HostConfig"].get("Memory")) == bool(memory(spec))
    return same_image and limited and labels.get(CONFIG_LABEL) == fingerprint(spec)


def fingerprint(spec: Spec) -> str:
    """Differs exactly when the container must be replaced. Options left out don't count."""
    kept = {
        key: value
        for key, value in spec.items()
        if key not in (*ON_THE_WAY, *COMPARED) and value not in (None, [], {}, False, "")
    }
    kept["env"] = environment(spec)
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def shown(spec: Spec) -> str:
    """The declaration for a diff, without secrets."""
    kept = {
        key: value for key, value in spec.items() if key not in ON_THE_WAY and value not in (None, [], {}, False, "")
    }
    if kept.get("env"):
        kept["env"] = shown_environment(environment(spec))
        if HIDDEN in "".join(kept["env"].values()):
            kept["config"] = fingerprint(spec)[:12]
    return json.dumps(kept, indent=2, sort_keys=True, default=str) + "\n"


def body(spec: Spec) -> dict[str, Any]:
    networks = list(spec.get("networks") or [])
    ports = [port(text) for text in spec.get("ports") or []]
    bindings: dict[str, list[dict[str, str]]] = {}
    for address, outer, inner in ports:
        bindings.setdefault(inner, []).append({"HostIp": address, "HostPort": outer})
    result: dict[str, Any] = {
        "Image": spec["image"],
        "Env": [f"{name}={value}" for name, value in environment(spec).items()],
        "Labels": {**strings(spec.get("labels")), CONFIG_LABEL: fingerprint(spec), SPEC_LABEL: shown(spec)},
        "ExposedPorts": {inner: {} for inner in bindings},
        "StopTimeout": stop_timeout(spec),
        "HostConfig": {
            "PortBindings": bindings,
            "Binds": list(spec.get("volumes") or []),
            "Tmpfs": dict(_tmpfs(entry) for entry in spec.get("tmpfs") or []),
            "ReadonlyRootfs": bool(spec.get("read_only")),
            "CapDrop": list(spec.get("cap_drop") or []),
            "SecurityOpt": list(spec.get("security_opt") or []),
            "ExtraHosts": list(spec.get("extra_hosts") or []),
            # The declared policy follows after the gate: until then the engine must not restart it.
            "RestartPolicy": {"Name": "no"},
            "Memory": memory(spec),
            "NetworkMode": networks[0] if networks else "default",
        },
    }
    if networks:
        result["NetworkingConfig"] = {"EndpointsConfig": {networks[0]: endpoint(spec)}}
    if spec.get("init") is not None:
        result["HostConfig"]["Init"] = bool(spec["init"])
    if spec.get("log_driver") or spec.get("log_options"):
        result["HostConfig"]["LogConfig"] = {
            "Type": spec.get("log_driver") or "json-file",
            "Config": strings(spec.get("log_options")),
        }
    for key, target in (("user", "User"), ("command", "Cmd")):
        if spec.get(key):
            result[target] = spec[key]
    if spec.get("healthcheck"):
        result["Healthcheck"] = healthcheck(spec["healthcheck"])
    return result


def stop_timeout(spec: Spec) -> int:
    return int(spec.get("stop_timeout") or 30)


def endpoint(spec: Spec) -> dict[str, Any]:
    return {"Aliases": list(spec.get("network_aliases") or [])}


def healthcheck(check: Spec) -> dict[str, Any]:
    test = check.get("test") or []
    result: dict[str, Any] = {
        "Test": ["NONE"] if test == ["NONE"] else test if test[:1] in (["CMD"], ["CMD-SHELL"]) else ["CMD", *test]
    }
    for key, target in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if check.get(key) is not None:
            result[target] = duration(check[key])
    if check.get("retries") is not None:
        result["Retries"] = int(check["retries"])
    return result


def _tmpfs(entry: str) -> tuple[str, str]:
    path, _separator, options = entry.partition(":")
    return path, options
