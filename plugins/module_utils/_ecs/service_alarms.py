# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CloudWatch alarms of services on ECS and of their queues, with the parameters of PutMetricAlarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Service = Mapping[str, Any]
AlarmDefinition = dict[str, Any]
# Of these, CloudWatch has how many tasks run and are desired.
COUNTING = ("enabled", "enhanced")
OFF = "disabled"


@dataclass(frozen=True)
class Thresholds:
    """Seconds that a message waits, and the share of 5xx in percent, above which there is an alarm."""

    message_age: float = 300
    target_5xx_percent: float = 1


@dataclass(frozen=True)
class Watched:
    """insights is the setting of the cluster, or "" where it is not declared; load_balancer is its ARN, or "".

    queues have `name` and `dead_letter`. balanced has the target group's ARN of each service that stands behind the
    internal load balancer, by its name; internal is the ARN of that.
    """

    cluster: str
    services: Sequence[Service]
    queues: Sequence[Mapping[str, str]]
    insights: str = ""
    load_balancer: str = ""
    thresholds: Thresholds = Thresholds()
    internal: str = ""
    balanced: Mapping[str, str] = field(default_factory=dict)


def wanted_alarms(watched: Watched, actions: Sequence[str]) -> list[AlarmDefinition]:
    alarms = [*_of_services(watched), *_of_queues(watched)]
    sent = {"AlarmActions": list(actions), "OKActions": list(actions)} if actions else {}
    return [{**alarm, **sent} for alarm in alarms]


def unwanted_alarms(watched: Watched) -> list[str]:
    """Names of the alarms that the declaration rules out. What it says nothing of is not unwanted."""
    found = []
    for service in watched.services:
        if watched.insights == OFF:
            found.append(running_name(watched, service))
        if not _target_group(watched, service):
            found.append(target_name(watched, service))
    return found


def all_alarms(watched: Watched) -> list[str]:
    """All names that the declared services and queues can have."""
    services = [name(watched, one) for one in watched.services for name in (running_name, target_name, unhealthy_name)]
    return services + [alarm["AlarmName"] for alarm in _of_queues(watched)]


def running_name(watched: Watched, service: Service) -> str:
    return f"{watched.cluster}-{service['name']}-running"


def target_name(watched: Watched, service: Service) -> str:
    return f"{watched.cluster}-{service['name']}-target-5xx"


def unhealthy_name(watched: Watched, service: Service) -> str:
    return f"{watched.cluster}-{service['name']}-targets-unhealthy"


def _of_services(watched: Watched) -> Iterator[AlarmDefinition]:
    for service in watched.services:
        if watched.insights in COUNTING:
            yield _running(watched, service)
        group = _target_group(watched, service)
        if service["name"] in watched.balanced and watched.internal:
            yield _unhealthy(watched, service)
        if group and ":loadbalancer/app/" in watched.load_balancer:
            yield _target_errors(watched, service, group)


def _running(watched: Watched, service: Service) -> AlarmDefinition:
    dimensions = _dimensions(ClusterName=watched.cluster, ServiceName=str(service["name"]))

    def counted(identifier: str, metric: str) -> dict[str, Any]:
        return _metric(identifier, "ECS/ContainerInsights", metric, dimensions, "Average")

    return {
        "AlarmName": running_name(watched, service),
        "AlarmDescription": f"The service {service['name']} has run fewer tasks than desired for five minutes.",
        "Metrics": [
            {
                "Id": "missing",
                "Expression": "desired - FILL(running, 0)",
                "Label": "tasks that do not run",
                "ReturnData": True,
            },
            counted("desired", "DesiredTaskCount"),
            counted("running", "RunningTaskCount"),
        ],
        "EvaluationPeriods": 5,
        "Threshold": 0.0,
        "ComparisonOperator": "GreaterThanThreshold",
        # Without data it is unknown how many run.
        "TreatMissingData": "missing",
    }


def _unhealthy(watched: Watched, service: Service) -> AlarmDefinition:
    return {
        "AlarmName": unhealthy_name(watched, service),
        "AlarmDescription": f"The service {service['name']} has had unhealthy targets for five minutes.",
        "Namespace": "AWS/NetworkELB",
        "MetricName": "UnHealthyHostCount",
        "Dimensions": _dimensions(
            LoadBalancer=watched.internal.partition(":loadbalancer/")[2],
            TargetGroup=watched.balanced[str(service["name"])].rpartition(":")[2],
        ),
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 5,
        "Threshold": 0.0,
        "ComparisonOperator": "GreaterThanThreshold",
        # A group without targets has none that are unhealthy.
        "TreatMissingData": "notBreaching",
    }


def _target_errors(watched: Watched, service: Service, group: str) -> AlarmDefinition:
    percent = watched.thresholds.target_5xx_percent
    dimensions = _dimensions(
        LoadBalancer=watched.load_balancer.partition(":loadbalancer/")[2], TargetGroup=group.rpartition(":")[2]
    )
    return {
        "AlarmName": target_name(watched, service),
        "AlarmDescription": f"The service {service['name']} answers more than {percent:g} % of requests with 5xx.",
        "Metrics": [
            {
                "Id": "rate",
                "Expression": "100 * FILL(errors, 0) / requests",
                "Label": "5xx of targets in %",
                "ReturnData": True,
            },
            _metric("errors", "AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", dimensions, "Sum"),
            _metric("requests", "AWS/ApplicationELB", "RequestCount", dimensions, "Sum"),
        ],
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": float(percent),
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }


def _of_queues(watched: Watched) -> Iterator[AlarmDefinition]:
    age = watched.thresholds.message_age
    for queue in watched.queues:
        yield {
            "AlarmName": f"{queue['name']}-oldest-message",
            "AlarmDescription": f"A message has waited in the queue {queue['name']} for more than {age:g} s.",
            **_of_queue(queue["name"], "ApproximateAgeOfOldestMessage"),
            "EvaluationPeriods": 3,
            "Threshold": float(age),
        }
        yield {
            "AlarmName": f"{queue['dead_letter']}-not-empty",
            "AlarmDescription": f"The dead-letter queue {queue['dead_letter']} has messages.",
            **_of_queue(queue["dead_letter"], "ApproximateNumberOfMessagesVisible"),
            "EvaluationPeriods": 1,
            "Threshold": 0.0,
        }


def _of_queue(name: str, metric: str) -> dict[str, Any]:
    return {
        "Namespace": "AWS/SQS",
        "MetricName": metric,
        "Dimensions": _dimensions(QueueName=name),
        "Statistic": "Maximum",
        "Period": 60,
        "ComparisonOperator": "GreaterThanThreshold",
        # A queue without traffic for six hours sends no metrics.
        "TreatMissingData": "notBreaching",
    }


def _target_group(watched: Watched, service: Service) -> str:
    """The ARN of its first target group that is not of the internal load balancer; "" without one."""
    balancers = (service.get("service") or {}).get("loadBalancers") or []
    own = watched.balanced.get(str(service["name"]))
    arns = [str(one["targetGroupArn"]) for one in balancers if one.get("targetGroupArn")]
    return next((arn for arn in arns if arn != own), "")


def _metric(
    identifier: str, namespace: str, name: str, dimensions: Sequence[Mapping[str, str]], stat: str
) -> dict[str, Any]:
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": list(dimensions)}
    return {"Id": identifier, "ReturnData": False, "MetricStat": {"Stat": stat, "Period": 60, "Metric": metric}}


def _dimensions(**values: str) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in values.items()]
