# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `logs` of the CloudWatch agent's configuration: what is collected, and metrics made of logs."""

from __future__ import annotations

from collections.abc import Mapping

from .schema import Anything, Flag, Kind, ListOf, Section, Text, Whole
from .shared import ABOUT_SERVICE, INTERVAL, OPTIONAL_TEXT, OTLP, SHORT, TLS, texts

# From the API of CloudWatch Logs, PutRetentionPolicy; -1 is for ever.
_RETENTION = Whole(
    -1,
    choices=(
        *(-1, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
        *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
    ),
)
LOG_NAME = Text(1, 512)
_FILTERS = ListOf(
    Section({"type": Text(choices=("include", "exclude")), "expression": OPTIONAL_TEXT}, required=["expression"]),
    unique=False,
)
_LOG_TARGET: Mapping[str, Kind] = {
    "log_group_name": LOG_NAME,
    "log_stream_name": LOG_NAME,
    "log_group_class": LOG_NAME,
    "retention_in_days": _RETENTION,
    "filters": _FILTERS,
}
TIMEZONE = Text(choices=("Local", "LOCAL", "UTC"))
LOG_FILE = Section(
    {
        **_LOG_TARGET,
        **ABOUT_SERVICE,
        "file_path": Text(),
        "multi_line_start_pattern": Text(),
        "timestamp_format": Text(),
        "timezone": TIMEZONE,
        "trim_timestamp": Flag(),
        "encoding": Text(),
        "auto_removal": Flag(),
        "backpressure_mode": Text(choices=("fd_release",)),
        "blacklist": Text(),
        "publish_multi_logs": Flag(),
    },
    required=["file_path"],
)
EVENTS: Mapping[str, Kind] = {
    "event_name": SHORT,
    "event_levels": ListOf(Text(choices=("CRITICAL", "ERROR", "WARNING", "INFORMATION", "VERBOSE")), least=1),
    "event_ids": ListOf(Whole(0, 65535), least=1),
    "event_format": Text(choices=("text", "xml")),
}
_PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", *map(str, range(8)))


def collected(entry: Section) -> Section:
    return Section({"collect_list": ListOf(entry, least=1)}, required=["collect_list"])


LOGS_COLLECTED = Section(
    {
        "files": collected(LOG_FILE),
        "journald": collected(
            Section(
                {
                    **_LOG_TARGET,
                    "units": ListOf(Text(0, 256), least=1),
                    "priority": Text(choices=_PRIORITIES),
                    "matches": ListOf(Section(others=OPTIONAL_TEXT), least=1),
                },
                required=["log_group_name"],
            )
        ),
        "windows_events": collected(
            Section({**_LOG_TARGET, **EVENTS}, required=["event_name"], one_of=("event_levels", "event_ids", "filters"))
        ),
        "application_signals": Section(
            {"log_group_name": LOG_NAME, "log_stream_name": LOG_NAME, "disabled": Flag()}, others=Anything()
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
                            {"target_dimension": Text(), "value": OPTIONAL_TEXT},
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
        "tls": TLS,
    },
    others=Anything(),
)
_EMF_PROCESSOR = Section(
    {
        "metric_declaration_dedup": Flag(),
        "metric_namespace": OPTIONAL_TEXT,
        "metric_unit": Section(others=Text(1, 256)),
        "metric_declaration": ListOf(
            Section(
                {
                    "source_labels": ListOf(OPTIONAL_TEXT, unique=False),
                    "label_matcher": OPTIONAL_TEXT,
                    "label_separator": OPTIONAL_TEXT,
                    "metric_selectors": ListOf(OPTIONAL_TEXT, unique=False),
                    "dimensions": ListOf(ListOf(OPTIONAL_TEXT, unique=False), unique=False),
                }
            ),
            unique=False,
        ),
    }
)


_TASKS = "sd_container_name_pattern sd_job_name sd_metrics_path sd_metrics_ports"
_ECS_DISCOVERY = Section(
    {
        "docker_label": Section(texts("sd_job_name_label sd_metrics_path_label sd_port_label")),
        "task_definition_list": ListOf(Section(texts(f"{_TASKS} sd_task_definition_arn_pattern")), unique=False),
        "service_name_list_for_tasks": ListOf(Section(texts(f"{_TASKS} sd_service_name_pattern")), unique=False),
        **texts("sd_cluster_region sd_frequency sd_result_file sd_target_cluster"),
    }
)
LOGS_METRICS_COLLECTED = Section(
    {
        "app_signals": _SIGNALS,
        "application_signals": _SIGNALS,
        "ecs": Section({"metrics_collection_interval": INTERVAL, "disable_metric_extraction": Flag()}),
        "emf": Anything(),
        "structuredlog": Anything(),
        "kubernetes": Section(
            {
                "cluster_name": LOG_NAME,
                "jmx_container_insights": Flag(),
                "metrics_collection_interval": INTERVAL,
                "disable_metric_extraction": Flag(),
            },
            others=Anything(),
        ),
        "prometheus": Section(
            {
                **texts("cluster_name log_group_name prometheus_config_path"),
                "emf_processor": _EMF_PROCESSOR,
                "ecs_service_discovery": _ECS_DISCOVERY,
                "disable_metric_extraction": Flag(),
            }
        ),
        "otlp": OTLP,
    }
)
