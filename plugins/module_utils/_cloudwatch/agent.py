# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CloudWatch agent's configuration file may hold.

Source: the agent's documentation, "Manually create or edit the CloudWatch agent configuration file", and the limits
that the agent's own JSON schema sets. Stricter than that schema in one thing: it lets many unknown keys pass, with
which the agent then does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .measurements import MEASUREMENTS
from .schema import Anything, Either, Flag, Kind, ListOf, Section, Text, Whole, suggestion

_INTERVAL = Whole(1, 172800)
_INTERVAL_OR_NONE = Whole(0, 172800)
_SHORT = Text(1, 255)
_ADDRESS = Text(4, 2048)
_OPTIONAL_TEXT = Text(0)
_CREDENTIALS = Section({"role_arn": Text(1, 2048)})
_DIMENSIONS = Section(others=Text(1, 1024), most=30)
_ABOUT_SERVICE: Mapping[str, Kind] = {"service.name": _SHORT, "deployment.environment": Text(1, 259)}


def _texts(keys: str) -> dict[str, Kind]:
    return dict.fromkeys(keys.split(), _OPTIONAL_TEXT)


@dataclass(frozen=True)
class _Measurement:
    """A measurement's name, or a mapping that renames it; of a plug-in whose names are known, a known one."""

    plugin: str = ""

    def problems(self, value: Any, path: str, strict: bool) -> Iterator[str]:
        if isinstance(value, Mapping):
            yield from _DECORATED.problems(value, path, strict)
            name = value.get("name")
        else:
            yield from _SHORT.problems(value, path, strict)
            name = value
        known = MEASUREMENTS.get(self.plugin)
        if known is None or not isinstance(name, str) or not strict:
            return
        short = name[len(self.plugin) + 1 :] if name.startswith(f"{self.plugin}_") else name
        if name not in known and short not in known:
            yield f"{self.plugin} has no measurement {name}{suggestion(short, known)}"


_DECORATED = Section({"name": _SHORT, "rename": _SHORT, "unit": Text(1, 256)})
_DROPPED = ListOf(Text(0), least=1)


def _plugin(name: str, **keys: Kind) -> Section:
    common: Mapping[str, Kind] = {
        "measurement": ListOf(_Measurement(name)),
        "metrics_collection_interval": _INTERVAL,
        "append_dimensions": _DIMENSIONS,
        "drop_original_metrics": _DROPPED,
    }
    return Section({**common, **keys}, required=["measurement"])


_RESOURCES = ListOf(Text(), most=256, unique=False)
_TLS = Section({"ca_file": _SHORT, "cert_file": _SHORT, "key_file": _SHORT, "insecure": Flag()})
_OTLP_ONE = Section({"grpc_endpoint": _ADDRESS, "http_endpoint": _ADDRESS, "tls": _TLS, **_ABOUT_SERVICE})
_OTLP = Either(_OTLP_ONE, ListOf(_OTLP_ONE, 1, 255, unique=False))
_JMX_TARGETS = ("jvm", "kafka", "kafka-consumer", "kafka-producer", "tomcat")
_JMX_TARGET = Section({"measurement": ListOf(_Measurement())}, required=["measurement"])
_JMX_ONE = Section(
    {
        "endpoint": _ADDRESS,
        "metrics_collection_interval": _INTERVAL,
        "append_dimensions": _DIMENSIONS,
        "insecure": Flag(),
        "registry_ssl_enabled": Flag(),
        **_texts("username password_file keystore_path keystore_type truststore_path truststore_type"),
        **_texts("remote_profile realm"),
        **dict.fromkeys(_JMX_TARGETS, _JMX_TARGET),
    },
    one_of=_JMX_TARGETS,
)
_LISTENER: Mapping[str, Kind] = {
    "service_address": _SHORT,
    "metrics_aggregation_interval": _INTERVAL_OR_NONE,
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


_METRICS_COLLECTED = _Plugins(
    {
        "collectd": Section(
            {
                **_LISTENER,
                "name_prefix": _SHORT,
                "collectd_auth_file": Text(),
                "collectd_security_level": Text(choices=("none", "sign", "encrypt")),
                "collectd_typesdb": ListOf(Text(), most=10),
                "append_dimensions": _DIMENSIONS,
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
                "interface_include": ListOf(_SHORT),
                "interface_exclude": ListOf(_SHORT),
                "metrics_include": ListOf(_SHORT),
                "append_dimensions": _DIMENSIONS,
                "drop_original_metrics": _DROPPED,
            }
        ),
        "jmx": Either(_JMX_ONE, ListOf(_JMX_ONE, 1, 255, unique=False)),
        "mem": _plugin("mem"),
        "net": _plugin("net", resources=_RESOURCES),
        "netstat": _plugin("netstat"),
        "nvidia_gpu": _plugin("nvidia_gpu"),
        "nvidia_smi": _plugin("nvidia_smi"),
        "otlp": _OTLP,
        "processes": _plugin("processes"),
        "procstat": ListOf(
            Section(
                {
                    **_plugin("procstat").keys,
                    "measurement": ListOf(_Measurement("procstat")),
                    "pid_file": _SHORT,
                    "exe": _SHORT,
                    "pattern": _SHORT,
                },
                required=["measurement"],
                one_of=("pid_file", "exe", "pattern"),
            ),
            1,
            255,
            unique=False,
        ),
        "prometheus": Section({"prometheus_config_path": _SHORT}, required=["prometheus_config_path"]),
        "statsd": Section(
            {
                **_LISTENER,
                "allowed_pending_messages": Whole(1),
                "metrics_collection_interval": _INTERVAL,
                "metric_separator": _SHORT,
            }
        ),
        "swap": _plugin("swap"),
    }
)

# From the API of CloudWatch Logs, PutRetentionPolicy; -1 is for ever.
_RETENTION = Whole(
    -1,
    choices=(
        *(-1, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
        *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
    ),
)
_LOG_NAME = Text(1, 512)
_FILTERS = ListOf(
    Section({"type": Text(choices=("include", "exclude")), "expression": _OPTIONAL_TEXT}, required=["expression"]),
    unique=False,
)
_LOG_TARGET: Mapping[str, Kind] = {
    "log_group_name": _LOG_NAME,
    "log_stream_name": _LOG_NAME,
    "log_group_class": _LOG_NAME,
    "retention_in_days": _RETENTION,
    "filters": _FILTERS,
}
_TIMEZONE = Text(choices=("Local", "LOCAL", "UTC"))
LOG_FILE = Section(
    {
        **_LOG_TARGET,
        **_ABOUT_SERVICE,
        "file_path": Text(),
        "multi_line_start_pattern": Text(),
        "timestamp_format": Text(),
        "timezone": _TIMEZONE,
        "trim_timestamp": Flag(),
        "encoding": Text(),
        "auto_removal": Flag(),
        "backpressure_mode": Text(choices=("fd_release",)),
        "blacklist": Text(),
        "publish_multi_logs": Flag(),
    },
    required=["file_path"],
)
_EVENTS: Mapping[str, Kind] = {
    "event_name": _SHORT,
    "event_levels": ListOf(Text(choices=("CRITICAL", "ERROR", "WARNING", "INFORMATION", "VERBOSE")), least=1),
    "event_ids": ListOf(Whole(0, 65535), least=1),
    "event_format": Text(choices=("text", "xml")),
}
_PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", *map(str, range(8)))


def _collected(entry: Section) -> Section:
    return Section({"collect_list": ListOf(entry, least=1)}, required=["collect_list"])


_LOGS_COLLECTED = Section(
    {
        "files": _collected(LOG_FILE),
        "journald": _collected(
            Section(
                {
                    **_LOG_TARGET,
                    "units": ListOf(Text(0, 256), least=1),
                    "priority": Text(choices=_PRIORITIES),
                    "matches": ListOf(Section(others=_OPTIONAL_TEXT), least=1),
                },
                required=["log_group_name"],
            )
        ),
        "windows_events": _collected(
            Section(
                {**_LOG_TARGET, **_EVENTS}, required=["event_name"], one_of=("event_levels", "event_ids", "filters")
            )
        ),
        "application_signals": Section(
            {"log_group_name": _LOG_NAME, "log_stream_name": _LOG_NAME, "disabled": Flag()}, others=Anything()
        ),
    },
    least=1,
)
_SIGNALS = Section(
    {
        "hosted_in": Text(1, 1024),
        "rules": ListOf(
            Section(
                {
                    "selectors": ListOf(
                        Section({"dimension": Text(), "match": Text()}, required=["dimension", "match"]), unique=False
                    ),
                    "replacements": ListOf(
                        Section(
                            {"target_dimension": Text(), "value": _OPTIONAL_TEXT},
                            required=["target_dimension", "value"],
                        ),
                        unique=False,
                    ),
                    "action": Text(choices=("drop", "keep", "replace")),
                    "rule_name": Text(),
                },
                required=["selectors", "action"],
            ),
            unique=False,
        ),
        "tls": _TLS,
    },
    others=Anything(),
)
_EMF_PROCESSOR = Section(
    {
        "metric_declaration_dedup": Flag(),
        "metric_namespace": _OPTIONAL_TEXT,
        "metric_unit": Section(others=Text(1, 256)),
        "metric_declaration": ListOf(
            Section(
                {
                    "source_labels": ListOf(_OPTIONAL_TEXT, unique=False),
                    "label_matcher": _OPTIONAL_TEXT,
                    "label_separator": _OPTIONAL_TEXT,
                    "metric_selectors": ListOf(_OPTIONAL_TEXT, unique=False),
                    "dimensions": ListOf(ListOf(_OPTIONAL_TEXT, unique=False), unique=False),
                }
            ),
            unique=False,
        ),
    }
)


_TASKS = "sd_container_name_pattern sd_job_name sd_metrics_path sd_metrics_ports"
_ECS_DISCOVERY = Section(
    {
        "docker_label": Section(_texts("sd_job_name_label sd_metrics_path_label sd_port_label")),
        "task_definition_list": ListOf(Section(_texts(f"{_TASKS} sd_task_definition_arn_pattern")), unique=False),
        "service_name_list_for_tasks": ListOf(Section(_texts(f"{_TASKS} sd_service_name_pattern")), unique=False),
        **_texts("sd_cluster_region sd_frequency sd_result_file sd_target_cluster"),
    }
)
_LOGS_METRICS_COLLECTED = Section(
    {
        "app_signals": _SIGNALS,
        "application_signals": _SIGNALS,
        "ecs": Section({"metrics_collection_interval": _INTERVAL, "disable_metric_extraction": Flag()}),
        "emf": Anything(),
        "structuredlog": Anything(),
        "kubernetes": Section(
            {
                "cluster_name": _LOG_NAME,
                "jmx_container_insights": Flag(),
                "metrics_collection_interval": _INTERVAL,
                "disable_metric_extraction": Flag(),
            },
            others=Anything(),
        ),
        "prometheus": Section(
            {
                **_texts("cluster_name log_group_name prometheus_config_path"),
                "emf_processor": _EMF_PROCESSOR,
                "ecs_service_discovery": _ECS_DISCOVERY,
                "disable_metric_extraction": Flag(),
            }
        ),
        "otlp": _OTLP,
    }
)

_OPENTELEMETRY = Section(
    {
        "cluster_name": _OPTIONAL_TEXT,
        "resource_attributes": _DIMENSIONS,
        "collect": Section(
            {
                "database_insights": Section(
                    {
                        "postgresql": ListOf(
                            Section(
                                {
                                    **_texts("endpoint instance_name username password_file ca_file"),
                                    "logs": Section({"file_path": _OPTIONAL_TEXT}),
                                },
                                required=["endpoint", "instance_name", "username", "password_file"],
                            ),
                            unique=False,
                        )
                    }
                ),
                "host_metrics": Section({"collection_interval": _INTERVAL}),
                "container_insights": Section(
                    {
                        "collection_interval": _INTERVAL,
                        "role": Text(choices=("node", "cluster")),
                        "logs": Section({"enabled": Flag()}),
                    }
                ),
                "prometheus": Section({"config_path": _OPTIONAL_TEXT}, required=["config_path"]),
                "otlp": Section({**_texts("grpc_endpoint http_endpoint"), "span_metrics_enabled": Flag()}),
                "windows_events": _collected(
                    Section(
                        {**_EVENTS, "log_group_name": _LOG_NAME, "log_stream_name": _LOG_NAME}, required=["event_name"]
                    )
                ),
                "files": _collected(
                    Section(
                        {
                            "file_path": Text(),
                            "log_group_name": _LOG_NAME,
                            "log_stream_name": _LOG_NAME,
                            "timezone": _TIMEZONE,
                            **_texts("multi_line_start_pattern timestamp_format encoding"),
                        },
                        required=["file_path"],
                    )
                ),
            }
        ),
    }
)

_AGENT = Section(
    {
        "metrics_collection_interval": _INTERVAL,
        "region": Text(1, 64),
        "credentials": _CREDENTIALS,
        "debug": Flag(),
        "aws_sdk_log_level": _OPTIONAL_TEXT,
        "logfile": Text(0),
        "omit_hostname": Flag(),
        "hostname": _OPTIONAL_TEXT,
        "run_as_user": _SHORT,
        "user_agent": _OPTIONAL_TEXT,
        "usage_data": Flag(),
        "usage_metadata": Anything(),
        "quiet": Flag(),
        "internal": Flag(),
        "use_dualstack_endpoint": Flag(),
        "system_metrics_enabled": Flag(),
        **_ABOUT_SERVICE,
    }
)
_METRICS = Section(
    {
        "namespace": _SHORT,
        "append_dimensions": Section(
            dict.fromkeys(("AutoScalingGroupName", "ImageId", "InstanceId", "InstanceType"), Text(1, 1024))
        ),
        "aggregation_dimensions": ListOf(ListOf(Text(1, 1024), most=30), 1, 1024),
        "endpoint_override": _ADDRESS,
        "metrics_collected": _METRICS_COLLECTED,
        "metrics_destinations": Section(
            {"cloudwatch": Anything(), "amp": Section({"workspace_id": _SHORT}, required=["workspace_id"])}, least=1
        ),
        "force_flush_interval": _INTERVAL,
        "credentials": _CREDENTIALS,
        "service.name": Text(),
        "deployment.environment": Text(),
    },
    required=["metrics_collected"],
)
_LOGS = Section(
    {
        "logs_collected": _LOGS_COLLECTED,
        "metrics_collected": _LOGS_METRICS_COLLECTED,
        "log_stream_name": _LOG_NAME,
        "endpoint_override": _ADDRESS,
        "force_flush_interval": _INTERVAL,
        "credentials": _CREDENTIALS,
        "concurrency": Whole(1),
        **_ABOUT_SERVICE,
    },
    one_of=("logs_collected", "metrics_collected"),
)
_TRACES = Section(
    {
        "traces_collected": Section(
            {
                "app_signals": Anything(),
                "application_signals": Anything(),
                "otlp": _OTLP,
                "xray": Section({"bind_address": _ADDRESS, "tcp_proxy": Section({"bind_address": _ADDRESS})}),
            },
            least=1,
        ),
        "concurrency": Whole(1),
        "buffer_size_mb": Whole(3),
        "resource_arn": _OPTIONAL_TEXT,
        "local_mode": Flag(),
        "insecure": Flag(),
        "credentials": _CREDENTIALS,
        "endpoint_override": _ADDRESS,
        "proxy_override": _ADDRESS,
        "region_override": _OPTIONAL_TEXT,
        "transit_spans_in_otlp_format": Flag(),
    },
    required=["traces_collected"],
)
_FILE = Section(
    {
        "agent": _AGENT,
        "metrics": _METRICS,
        "logs": _LOGS,
        "traces": _TRACES,
        "opentelemetry": _OPENTELEMETRY,
        "csm": Anything(),
    }
)


def config_problems(config: Mapping[str, Any], *, unknown_keys: bool = False) -> list[str]:
    """Say what in the agent's configuration (the file's content as a mapping) the agent would refuse or ignore.

    With ``unknown_keys``, keys and measurements that are not known here pass, for an agent newer than this list.
    Returns one sentence for each finding, an empty list where there is none.
    """
    return [f"CloudWatch agent configuration: {problem}." for problem in _FILE.problems(config, "", not unknown_keys)]
