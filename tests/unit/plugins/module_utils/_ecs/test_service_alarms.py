# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service_alarms import (
    Thresholds,
    Watched,
    all_alarms,
    unwanted_alarms,
    wanted_alarms,
)

GROUP = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/api/73e2d6"
BALANCER = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/front/50dc"
API = {"name": "api", "service": {"loadBalancers": [{"targetGroupArn": GROUP}]}}
WORKER: dict[str, Any] = {"name": "worker"}
QUEUES = [{"name": "audit", "dead_letter": "audit-dlq"}]


def names(watched: Watched) -> list[str]:
    return [alarm["AlarmName"] for alarm in wanted_alarms(watched, [])]


def test_all_that_can_be_watched_is_watched() -> None:
    watched = Watched("production", [API, WORKER], QUEUES, "enabled", BALANCER, Thresholds(120, 2.5))
    alarms = {alarm["AlarmName"]: alarm for alarm in wanted_alarms(watched, ["arn:topic"])}
    assert list(alarms) == [
        "production-api-running",
        "production-api-target-5xx",
        "production-worker-running",
        "audit-oldest-message",
        "audit-dlq-not-empty",
    ]
    assert all(alarm["AlarmActions"] == alarm["OKActions"] == ["arn:topic"] for alarm in alarms.values())
    assert set(all_alarms(watched)) == {
        *alarms,
        "production-worker-target-5xx",
        "production-api-targets-unhealthy",
        "production-worker-targets-unhealthy",
    }
    running = alarms["production-worker-running"]
    assert running["EvaluationPeriods"] * running["Metrics"][1]["MetricStat"]["Period"] == 300
    assert running["Metrics"][0]["Expression"] == "desired - FILL(running, 0)"
    assert running["Metrics"][1]["MetricStat"]["Metric"]["Dimensions"] == [
        {"Name": "ClusterName", "Value": "production"},
        {"Name": "ServiceName", "Value": "worker"},
    ]
    errors = alarms["production-api-target-5xx"]
    assert errors["Threshold"] == 2.5
    assert errors["Metrics"][1]["MetricStat"]["Metric"]["Dimensions"] == [
        {"Name": "LoadBalancer", "Value": "app/front/50dc"},
        {"Name": "TargetGroup", "Value": "targetgroup/api/73e2d6"},
    ]
    assert (alarms["audit-oldest-message"]["Threshold"], alarms["audit-dlq-not-empty"]["Threshold"]) == (120, 0)


def test_what_is_not_declared_is_neither_wanted_nor_unwanted() -> None:
    """A run that does not know the load balancer, or the cluster's setting, leaves their alarms."""
    unknown = Watched("production", [API], [])
    assert names(unknown) == unwanted_alarms(unknown) == []


def test_what_the_declaration_rules_out_is_unwanted() -> None:
    off = Watched("production", [API, WORKER], QUEUES, "disabled", BALANCER)
    assert unwanted_alarms(off) == [
        "production-api-running",
        "production-worker-running",
        "production-worker-target-5xx",
    ]
    assert names(off) == ["production-api-target-5xx", "audit-oldest-message", "audit-dlq-not-empty"]
    assert not set(unwanted_alarms(off)) & set(names(off))


def test_a_network_load_balancer_counts_no_5xx() -> None:
    watched = Watched("production", [API], [], "enabled", BALANCER.replace("/app/", "/net/"))
    assert names(watched) == ["production-api-running"]


def test_targets_of_the_internal_load_balancer_are_watched() -> None:
    internal = BALANCER.replace("app/front", "net/inside")
    watched = Watched("production", [API, WORKER], [], "", BALANCER, internal=internal, balanced={"api": GROUP})
    [alarm] = wanted_alarms(watched, [])
    assert alarm["AlarmName"] == "production-api-targets-unhealthy"
    assert {one["Name"]: one["Value"] for one in alarm["Dimensions"]} == {
        "LoadBalancer": "net/inside/50dc",
        "TargetGroup": "targetgroup/api/73e2d6",
    }
    assert alarm["EvaluationPeriods"] * alarm["Period"] == 300
