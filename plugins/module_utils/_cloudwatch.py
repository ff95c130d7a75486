# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CloudWatch agent's configuration file may hold.

Source: the agent's documentation, "Manually create or edit the CloudWatch agent configuration file".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

# A level of the file: key -> None (any value), a nested level, or a list of one level.
Level = Mapping[str, Any]

ANY: Level = {"*": None}

_METRIC: Level = {
    "measurement": None,
    "resources": None,
    "metrics_collection_interval": None,
    "append_dimensions": ANY,
    "ignore_file_system_types": None,
    "drop_device": None,
    "totalcpu": None,
    "mount_points": None,
}

_LOG_FILE: Level = {
    "file_path": None,
    "log_group_name": None,
    "log_stream_name": None,
    "log_group_class": None,
    "retention_in_days": None,
    "timestamp_format": None,
    "timezone": None,
    "multi_line_start_pattern": None,
    "encoding": None,
    "blacklist": None,
    "publish_multi_logs": None,
    "auto_removal": None,
    "filters": None,
    "service.name": None,
    "deployment.environment": None,
    "trim_timestamp": None,
}

AGENT_CONFIG: Level = {
    "agent": {
        "metrics_collection_interval": None,
        "region": None,
        "credentials": {"role_arn": None},
        "debug": None,
        "aws_sdk_log_level": None,
        "logfile": None,
        "omit_hostname": None,
        "run_as_user": None,
        "user_agent": None,
        "quiet": None,
        "internal": None,
        "service.name": None,
        "deployment.environment": None,
        "use_dualstack_endpoint": None,
    },
    "metrics": {
        "namespace": None,
        "append_dimensions": {
            "ImageId": None,
            "InstanceId": None,
            "InstanceType": None,
            "AutoScalingGroupName": None,
        },
        "aggregation_dimensions": None,
        "endpoint_override": None,
        "metrics_collected": {
            "collectd": None,
            "cpu": _METRIC,
            "disk": _METRIC,
            "diskio": _METRIC,
            "ethtool": None,
            "jmx": None,
            "mem": _METRIC,
            "net": _METRIC,
            "netstat": _METRIC,
            "nvidia_gpu": _METRIC,
            "otlp": None,
            "processes": _METRIC,
            "procstat": None,
            "statsd": None,
            "swap": _METRIC,
        },
        "metrics_destinations": None,
        "force_flush_interval": None,
        "credentials": {"role_arn": None},
        "service.name": None,
        "deployment.environment": None,
    },
    "logs": {
        "logs_collected": {
            "files": {
                "collect_list": [_LOG_FILE],
                "service.name": None,
                "deployment.environment": None,
            },
            "windows_events": None,
        },
        "metrics_collected": None,
        "log_stream_name": None,
        "endpoint_override": None,
        "force_flush_interval": None,
        "credentials": {"role_arn": None},
        "concurrency": None,
        "service.name": None,
        "deployment.environment": None,
    },
    "traces": None,
    "csm": None,
}

# The measurements of the plug-ins that this collection configures; each may be written with its plug-in before it.
_MEM = "active available available_percent buffered cached free inactive shared total used used_percent"
_DISK = "free total used used_percent inodes_free inodes_used inodes_total"
_CPU = "active guest guest_nice idle iowait irq nice softirq steal system user"
MEASUREMENTS: Mapping[str, frozenset[str]] = {
    "mem": frozenset(_MEM.split()),
    "disk": frozenset(_DISK.split()),
    "swap": frozenset(("free", "used", "used_percent")),
    "cpu": frozenset(f"{prefix}_{what}" for prefix in ("time", "usage") for what in _CPU.split()),
}


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """Say what in the agent's configuration (the file's content as a mapping) the agent does not know.

    Returns one sentence for each finding, an empty list where there is none.
    """
    problems = _unknown_keys(config, AGENT_CONFIG, "")
    metrics = config.get("metrics")
    collected = metrics.get("metrics_collected") if isinstance(metrics, Mapping) else None
    if isinstance(collected, Mapping):
        for plugin, known in MEASUREMENTS.items():
            settings = collected.get(plugin)
            if isinstance(settings, Mapping):
                problems += _unknown_measurements(plugin, settings.get("measurement") or [], known)
    return problems


def _unknown_keys(value: Any, level: Level | list[Level], path: str) -> list[str]:
    if isinstance(level, list):
        if not isinstance(value, list):
            return [f"CloudWatch agent configuration: {path} has to be a list."]
        return [p for i, item in enumerate(value) for p in _unknown_keys(item, level[0], f"{path}[{i}]")]
    if not isinstance(value, Mapping):
        return [f"CloudWatch agent configuration: {path or 'it'} has to be a mapping."]
    problems = []
    for key, inner in value.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in level and "*" not in level:
            problems.append(f"CloudWatch agent configuration: unknown key {where}{_suggestion(key, level)}.")
        elif level.get(key) is not None:
            problems += _unknown_keys(inner, level[key], where)
    return problems


def _unknown_measurements(plugin: str, wanted: Any, known: frozenset[str]) -> list[str]:
    problems = []
    for entry in wanted:
        name = entry.get("name") if isinstance(entry, Mapping) else entry
        short = str(name)[len(plugin) + 1 :] if str(name).startswith(f"{plugin}_") else str(name)
        if short not in known:
            problems.append(
                f"CloudWatch agent configuration: {plugin} has no measurement {name}{_suggestion(short, known)}."
            )
    return problems


def _suggestion(word: Any, known: Any) -> str:
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {close[0]}" if close else ""
