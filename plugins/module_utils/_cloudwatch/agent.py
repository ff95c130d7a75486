# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CloudWatch agent's configuration file may contain.

Source: the agent's documentation, "Manually create or edit the CloudWatch agent configuration file", and the limits
that the agent's own JSON schema sets. Stricter than that schema in one point: it accepts many unknown keys, which
the agent then ignores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .logs import LOG_NAME, LOGS_COLLECTED, LOGS_METRICS_COLLECTED
from .metrics import METRICS_COLLECTED
from .opentelemetry import OPENTELEMETRY
from .schema import Anything, Flag, ListOf, Section, Text, Whole
from .shared import ABOUT_SERVICE, ADDRESS, CREDENTIALS, INTERVAL, OPTIONAL_TEXT, OTLP, SHORT

_AGENT = Section(
    {
        "metrics_collection_interval": INTERVAL,
        "region": Text(1, 64),
        "credentials": CREDENTIALS,
        "debug": Flag(),
        "aws_sdk_log_level": OPTIONAL_TEXT,
        "logfile": Text(0),
        "omit_hostname": Flag(),
        "hostname": OPTIONAL_TEXT,
        "run_as_user": SHORT,
        "user_agent": OPTIONAL_TEXT,
        "usage_data": Flag(),
        "usage_metadata": Anything(),
        "quiet": Flag(),
        "internal": Flag(),
        "use_dualstack_endpoint": Flag(),
        "system_metrics_enabled": Flag(),
        **ABOUT_SERVICE,
    }
)
_METRICS = Section(
    {
        "namespace": SHORT,
        "append_dimensions": Section(
            dict.fromkeys(("AutoScalingGroupName", "ImageId", "InstanceId", "InstanceType"), Text(1, 1024))
        ),
        "aggregation_dimensions": ListOf(ListOf(Text(1, 1024), most=30), 1, 1024),
        "endpoint_override": ADDRESS,
        "metrics_collected": METRICS_COLLECTED,
        "metrics_destinations": Section(
            {"cloudwatch": Anything(), "amp": Section({"workspace_id": SHORT}, required=["workspace_id"])}, least=1
        ),
        "force_flush_interval": INTERVAL,
        "credentials": CREDENTIALS,
        "service.name": Text(),
        "deployment.environment": Text(),
    },
    required=["metrics_collected"],
)
_LOGS = Section(
    {
        "logs_collected": LOGS_COLLECTED,
        "metrics_collected": LOGS_METRICS_COLLECTED,
        "log_stream_name": LOG_NAME,
        "endpoint_override": ADDRESS,
        "force_flush_interval": INTERVAL,
        "credentials": CREDENTIALS,
        "concurrency": Whole(1),
        **ABOUT_SERVICE,
    },
    one_of=("logs_collected", "metrics_collected"),
)
_TRACES = Section(
    {
        "traces_collected": Section(
            {
                "app_signals": Anything(),
                "application_signals": Anything(),
                "otlp": OTLP,
                "xray": Section({"bind_address": ADDRESS, "tcp_proxy": Section({"bind_address": ADDRESS})}),
            },
            least=1,
        ),
        "concurrency": Whole(1),
        "buffer_size_mb": Whole(3),
        "resource_arn": OPTIONAL_TEXT,
        "local_mode": Flag(),
        "insecure": Flag(),
        "credentials": CREDENTIALS,
        "endpoint_override": ADDRESS,
        "proxy_override": ADDRESS,
        "region_override": OPTIONAL_TEXT,
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
        "opentelemetry": OPENTELEMETRY,
        "csm": Anything(),
    }
)


def config_problems(config: Mapping[str, Any], *, unknown_keys: bool = False) -> list[str]:
    """Find what the agent would refuse or ignore in its configuration (the file's content as a mapping).

    With ``unknown_keys``, keys and measurements that are not in this list are accepted, for newer agents.
    Returns one sentence for each finding, an empty list where there is none.
    """
    return [f"CloudWatch agent configuration: {problem}." for problem in _FILE.problems(config, "", not unknown_keys)]
