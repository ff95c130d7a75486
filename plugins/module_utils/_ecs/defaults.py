# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task definition as RegisterTaskDefinition takes it, and with the defaults that AWS fills in.

Names and shapes are those of the API (botocore's service model of ecs, TaskDefinition and ContainerDefinition). A field
that is not listed here is taken as it is, so that a new field of the API needs no change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Definition = Mapping[str, Any]

# Fields that DescribeTaskDefinition adds to what was registered.
ANSWER_ONLY = (
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
)
# Their keys are free and their values are texts, so that nothing within them is a field of the API.
TEXT_MAPS = ("options", "dockerLabels", "labels", "driverOpts")
INTEGERS = (
    "containerPort",
    "cpu",
    "hardLimit",
    "hostPort",
    "interval",
    "maxComputePercent",
    "maxSwap",
    "memory",
    "memoryReservation",
    "restartAttemptPeriod",
    "retries",
    "sharedMemorySize",
    "size",
    "sizeInGiB",
    "softLimit",
    "startPeriod",
    "startTimeout",
    "stopTimeout",
    "swappiness",
    "timeout",
    "transitEncryptionPort",
)
FLAGS = (
    "autoprovision",
    "configuredAtLaunch",
    "disableNetworking",
    "enableFaultInjection",
    "enabled",
    "essential",
    "initProcessEnabled",
    "interactive",
    "privileged",
    "pseudoTerminal",
    "readOnly",
    "readonlyRootFilesystem",
)
# Of these, false means the same as no value.
OFF_BY_DEFAULT = tuple(flag for flag in FLAGS if flag not in ("enabled", "essential"))
# Lists whose order has no meaning, and what their entries are sorted by; without a field, by the entry itself.
UNORDERED: dict[str, tuple[str, ...]] = {
    "add": (),
    "dependsOn": ("containerName", "condition"),
    "drop": (),
    "environment": ("name",),
    "ignoredExitCodes": (),
    "inferenceAccelerators": ("deviceName",),
    "mountPoints": ("containerPath",),
    "permissions": (),
    "placementConstraints": ("type", "expression"),
    "portMappings": ("containerPort", "containerPortRange", "protocol"),
    "properties": ("name",),
    "requiresCompatibilities": (),
    "resourceRequirements": ("type", "value"),
    "secretOptions": ("name",),
    "secrets": ("name",),
    "systemControls": ("namespace",),
    "tags": ("key",),
    "ulimits": ("name",),
    "volumes": ("name",),
}
FARGATE_PLATFORM = {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"}
HEALTH_CHECK = {"interval": 30, "timeout": 5, "retries": 3, "startPeriod": 0}
EFS = {"rootDirectory": "/", "transitEncryption": "DISABLED", "authorizationConfig": {"iam": "DISABLED"}}
RESTART_POLICY = {"restartAttemptPeriod": 300}
# The log router of FireLens runs as root where no user is declared.
LOG_ROUTER_USER = "0"


def tidy(definition: Definition) -> dict[str, Any]:
    """What RegisterTaskDefinition is given: without empty values and fields of answers, with the API's types.

    YAML's numbers and booleans become texts where the API has texts, and texts become numbers and booleans where it has
    these. A text that is no number stays, so that AWS's refusal names it. An environment variable whose value is null
    is left out.
    """
    tidied: dict[str, Any] = _tidy({key: value for key, value in definition.items() if key not in ANSWER_ONLY}, "", 0)
    for field, units in (("cpu", cpu_units), ("memory", mebibytes)):
        if field in tidied:
            tidied[field] = units(tidied[field])
    return tidied


def filled(definition: Definition) -> dict[str, Any]:
    """The definition with AWS's defaults and with sorted lists, for comparison; an empty one stays empty.

    It is the same for a declared and for a described definition. Applying it twice changes nothing more.
    """
    result: dict[str, Any] = _without_off_flags(tidy(definition))
    if not result:
        return result
    launch_types = result.get("requiresCompatibilities", [])
    if "FARGATE" in launch_types:
        result["runtimePlatform"] = _over(FARGATE_PLATFORM, result.get("runtimePlatform"))
    elif set(launch_types) <= {"EC2", "EXTERNAL"}:
        result.setdefault("networkMode", "bridge")
    same_port = result.get("networkMode") in ("awsvpc", "host") or "FARGATE" in launch_types
    if "containerDefinitions" in result:
        result["containerDefinitions"] = [
            _container(container, same_port) if isinstance(container, dict) else container
            for container in result["containerDefinitions"]
        ]
    if "volumes" in result:
        result["volumes"] = [_volume(volume) if isinstance(volume, dict) else volume for volume in result["volumes"]]
    ordered: dict[str, Any] = _sorted(result, "")
    return ordered


def cpu_units(value: str) -> str:
    """CPU units of "512", "0.5 vCPU"; other texts as they are."""
    vcpus = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*vcpu\s*", value, re.I)
    return f"{float(vcpus[1]) * 1024:g}" if vcpus else value.strip()


def mebibytes(value: str) -> str:
    """MiB of "1024", "1 GB"; other texts as they are."""
    gigabytes = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*gb\s*", value, re.I)
    return f"{float(gigabytes[1]) * 1024:g}" if gigabytes else value.strip()


def text(value: Any) -> str:
    """A value of YAML as the API's text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tidy(value: Any, name: str, depth: int) -> Any:
    """depth is 1 for the fields of the task definition itself."""
    if isinstance(value, Mapping):
        if name in TEXT_MAPS:
            return {str(key): text(entry) for key, entry in value.items() if entry is not None}
        kept = {str(key): _tidy(entry, str(key), depth + 1) for key, entry in value.items()}
        return {key: entry for key, entry in kept.items() if not _is_empty(key, entry)}
    if isinstance(value, (list, tuple)):
        entries = [_tidy(entry, name, depth) for entry in value if entry is not None]
        return [entry for entry in entries if not (name == "environment" and _has_no_value(entry))]
    return _typed(value, name, depth)


def _has_no_value(variable: Any) -> bool:
    return isinstance(variable, Mapping) and "value" not in variable


def _is_empty(name: str, value: Any) -> bool:
    """An empty text says something as the value of a variable only."""
    return value is None or value in ([], {}) or (value == "" and name != "value")


def _typed(value: Any, name: str, depth: int) -> Any:
    if value is None:
        return None
    if depth == 1 and name in ("cpu", "memory"):
        # Not 512.0, which Jinja makes of a division.
        return text(int(value) if isinstance(value, float) and value.is_integer() else value)
    if name in INTEGERS:
        return int(value) if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value) else value
    if name in FLAGS:
        return {"true": True, "yes": True, "false": False, "no": False}.get(str(value).lower(), value)
    if name == "ignoredExitCodes":
        return int(value) if isinstance(value, str) and value.strip().isdigit() else value
    return text(value) if isinstance(value, (bool, int, float)) and name in _TEXTS else value


# Fields of texts in which YAML often has a number or a boolean.
_TEXTS = ("value", "user", "command", "entryPoint", "hostname", "containerPortRange")


def _without_off_flags(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {
            key: entry if key in TEXT_MAPS else _without_off_flags(entry)
            for key, entry in value.items()
            if not (key in OFF_BY_DEFAULT and entry is False)
        }
        return {key: entry for key, entry in kept.items() if not _is_empty(key, entry)}
    return [_without_off_flags(entry) for entry in value] if isinstance(value, list) else value


def _container(container: dict[str, Any], same_port: bool) -> dict[str, Any]:
    """same_port: whether the network mode makes the host's port the container's."""
    result = {"essential": True, "cpu": 0, "versionConsistency": "enabled", **container}
    if "portMappings" in result:
        result["portMappings"] = [_port(mapping, same_port) for mapping in result["portMappings"]]
    if "healthCheck" in result:
        result["healthCheck"] = _over(HEALTH_CHECK, result["healthCheck"])
    if result.get("restartPolicy", {}).get("enabled"):
        result["restartPolicy"] = _over(RESTART_POLICY, result["restartPolicy"])
    if "firelensConfiguration" in result:
        result.setdefault("user", LOG_ROUTER_USER)
    return result


def _port(mapping: Mapping[str, Any], same_port: bool) -> dict[str, Any]:
    result = {"protocol": "tcp", **mapping}
    if "containerPortRange" in result:
        # AWS chooses the host's ports of a range.
        result.pop("hostPort", None)
    elif "containerPort" in result:
        own = result["containerPort"] if same_port else 0
        result["hostPort"] = result.get("hostPort") or own
    return result


def _volume(volume: dict[str, Any]) -> dict[str, Any]:
    result = dict(volume)
    if "efsVolumeConfiguration" in result:
        result["efsVolumeConfiguration"] = _over(EFS, result["efsVolumeConfiguration"])
    if "s3filesVolumeConfiguration" in result:
        result["s3filesVolumeConfiguration"] = _over({"rootDirectory": "/"}, result["s3filesVolumeConfiguration"])
    if "dockerVolumeConfiguration" in result:
        result["dockerVolumeConfiguration"] = _over({"scope": "task"}, result["dockerVolumeConfiguration"])
    return result


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The given values over the defaults, at all depths."""
    result = {**defaults, **(given or {})}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(result[key], Mapping):
            result[key] = _over(value, result[key])
    return result


def _sorted(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: entry if key in TEXT_MAPS else _sorted(entry, key) for key, entry in value.items()}
    if not isinstance(value, list):
        return value
    entries = [_sorted(entry, name) for entry in value]
    return sorted(entries, key=lambda entry: _rank(entry, UNORDERED[name])) if name in UNORDERED else entries


def _rank(entry: Any, by: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(entry.get(field, "")) for field in by) if isinstance(entry, Mapping) else (str(entry),)
