# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `metrics.metrics_collected` of the CloudWatch agent's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .measurements import MEASUREMENTS
from .schema import Anything, Either, Flag, Kind, ListOf, Section, Text, Whole, suggestion
from .shared import ADDRESS, DIMENSIONS, INTERVAL, INTERVAL_OR_NONE, OTLP, SHORT, texts


@dataclass(frozen=True)
class _Measurement:
    """A measurement's name, or a mapping that renames it. Where a plug-in's names are known, it must be one of them."""

    plugin: str = ""

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        if isinstance(value, Mapping):
            yield from _DECORATED.problems(value, path, strict)
            name = value.get("name")
        else:
            yield from SHORT.problems(value, path, strict)
            name = value
        known = MEASUREMENTS.get(self.plugin)
        if known is None or not isinstance(name, str) or not strict:
            return
        short = name[len(self.plugin) + 1 :] if name.startswith(f"{self.plugin}_") else name
        if name not in known and short not in known:
            yield f"{self.plugin} has no measurement {name}{suggestion(short, known)}"


_DECORATED = Section({"name": SHORT, "rename": SHORT, "unit": Text(1, 256)})
_DROPPED = ListOf(Text(0), least=1)


def _plugin(name: str, **keys: Kind) -> Section:
    common: Mapping[str, Kind] = {
        "measurement": ListOf(_Measurement(name)),
        "metrics_collection_interval": INTERVAL,
        "append_dimensions": DIMENSIONS,
        "drop_original_metrics": _DROPPED,
    }
    return Section({**common, **keys}, required=["measurement"])


_RESOURCES = ListOf(Text(), most=256, unique=False)
_JMX_TARGETS = ("jvm", "kafka", "kafka-consumer", "kafka-producer", "tomcat")
_JMX_TARGET = Section({"measurement": ListOf(_Measurement())}, required=["measurement"])
_JMX_ONE = Section(
    {
        "endpoint": ADDRESS,
        "metrics_collection_interval": INTERVAL,
        "append_dimensions": DIMENSIONS,
        "insecure": Flag(),
        "registry_ssl_enabled": Flag(),
        **texts("username password_file keystore_path keystore_type truststore_path truststore_type"),
        **texts("remote_profile realm"),
        **dict.fromkeys(_JMX_TARGETS, _JMX_TARGET),
    },
    one_of=_JMX_TARGETS,
)
_LISTENER: Mapping[str, Kind] = {
    "service_address": SHORT,
    "metrics_aggregation_interval": INTERVAL_OR_NONE,
    "drop_original_metrics": _DROPPED,
    "service.name": Text(),
    "deployment.environment": Text(),
}
_WINDOWS_OBJECT = Section({**_plugin("").keys, "resources": _RESOURCES}, others=Anything())


@dataclass(frozen=True)
class _Plugins:
    """The section `metrics_collected`. Windows' performance objects have any name; no plug-in's has a capital in it."""

    known: Mapping[str, Kind]

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        objects = [key for key in value if str(key) != str(key).lower()] if isinstance(value, Mapping) else []
        return Section({**self.known, **dict.fromkeys(objects, _WINDOWS_OBJECT)}, least=1).problems(value, path, strict)


METRICS_COLLECTED = _Plugins(
    {
        "collectd": Section(
            {
                **_LISTENER,
                "name_prefix": SHORT,
                "collectd_auth_file": Text(),
                "collectd_security_level": Text(choices=("none", "sign", "encrypt")),
                "collectd_typesdb": ListOf(Text(), most=10),
                "append_dimensions": DIMENSIONS,
            }
        ),
        "cpu": _plugin("cpu", resources=ListOf(Text(choices=("*",)), most=1), totalcpu=Flag()),
        "disk": _plugin(
            "disk",
            resources=_RESOURCES,
            ignore_file_system_types=ListOf(Text(), most=256, unique=False),
            drop_device=Flag(),
            mount_points=_RESOURCES,
        ),
        "diskio": _plugin("diskio", resources=_RESOURCES),
        "efa": _plugin("efa", resources=_RESOURCES),
        "ethtool": Section(
            {
                "interface_include": ListOf(SHORT),
                "interface_exclude": ListOf(SHORT),
                "metrics_include": ListOf(SHORT),
                "append_dimensions": DIMENSIONS,
                "drop_original_metrics": _DROPPED,
            }
        ),
        "jmx": Either(_JMX_ONE, ListOf(_JMX_ONE, 1, 255, unique=False)),
        "mem": _plugin("mem"),
        "net": _plugin("net", resources=_RESOURCES),
        "netstat": _plugin("netstat"),
        "nvidia_gpu": _plugin("nvidia_gpu"),
        "nvidia_smi": _plugin("nvidia_smi"),
        "otlp": OTLP,
        "processes": _plugin("processes"),
        "procstat": ListOf(
            Section(
                {
                    **_plugin("procstat").keys,
                    "measurement": ListOf(_Measurement("procstat")),
                    "pid_file": SHORT,
                    "exe": SHORT,
                    "pattern": SHORT,
                },
                required=["measurement"],
                one_of=("pid_file", "exe", "pattern"),
            ),
            1,
            255,
            unique=False,
        ),
        "prometheus": Section({"prometheus_config_path": SHORT}, required=["prometheus_config_path"]),
        "statsd": Section(
            {
                **_LISTENER,
                "allowed_pending_messages": Whole(1),
                "metrics_collection_interval": INTERVAL,
                "metric_separator": SHORT,
            }
        ),
        "swap": _plugin("swap"),
    }
)
