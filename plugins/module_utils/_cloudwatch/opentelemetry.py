# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The section `opentelemetry` of the CloudWatch agent's configuration."""

from __future__ import annotations

from .logs import EVENTS, LOG_NAME, TIMEZONE, collected
from .schema import Flag, ListOf, Section, Text
from .shared import DIMENSIONS, INTERVAL, OPTIONAL_TEXT, texts

OPENTELEMETRY = Section(
    {
        "cluster_name": OPTIONAL_TEXT,
        "resource_attributes": DIMENSIONS,
        "collect": Section(
            {
                "database_insights": Section(
                    {
                        "postgresql": ListOf(
                            Section(
                                {
                                    **texts("endpoint instance_name username password_file ca_file"),
                                    "logs": Section({"file_path": OPTIONAL_TEXT}),
                                },
                                required=["endpoint", "instance_name", "username", "password_file"],
                            ),
                            unique=False,
                        )
                    }
                ),
                "host_metrics": Section({"collection_interval": INTERVAL}),
                "container_insights": Section(
                    {
                        "collection_interval": INTERVAL,
                        "role": Text(choices=("node", "cluster")),
                        "logs": Section({"enabled": Flag()}),
                    }
                ),
                "prometheus": Section({"config_path": OPTIONAL_TEXT}, required=["config_path"]),
                "otlp": Section({**texts("grpc_endpoint http_endpoint"), "span_metrics_enabled": Flag()}),
                "windows_events": collected(
                    Section(
                        {**EVENTS, "log_group_name": LOG_NAME, "log_stream_name": LOG_NAME}, required=["event_name"]
                    )
                ),
                "files": collected(
                    Section(
                        {
                            "file_path": Text(),
                            "log_group_name": LOG_NAME,
                            "log_stream_name": LOG_NAME,
                            "timezone": TIMEZONE,
                            **texts("multi_line_start_pattern timestamp_format encoding"),
                        },
                        required=["file_path"],
                    )
                ),
            }
        ),
    }
)
