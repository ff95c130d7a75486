# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics and dimensions of the role alarms match what AWS and the agent send."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.evenkeel.fleet.plugins.module_utils._cloudwatch import config_problems
from ansible_collections.evenkeel.fleet.tests.unit.trusted import trusted

ROOT = Path(__file__).parents[3]
CHOSEN = {
    "alarms_load_balancer_arn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/gateways/50dc",
    "alarms_target_group_arn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/gateways/73e2d6",
    "alarms_autoscaling_group": "gateways",
    "alarms_region": "eu-central-1",
    "cloudwatch_agent_fleet": "gateways",
    "cloudwatch_agent_namespace": "Fleet",
}
# Metrics of an Application Load Balancer and the dimensions they have, as the documentation lists them.
OF_BALANCERS = {
    "UnHealthyHostCount": {"LoadBalancer", "TargetGroup"},
    "HTTPCode_Target_5XX_Count": {"LoadBalancer", "TargetGroup"},
    "TargetResponseTime": {"LoadBalancer", "TargetGroup"},
    "HTTPCode_ELB_5XX_Count": {"LoadBalancer"},
    "RequestCount": {"LoadBalancer"},
}
# Of what a gateway shows; a test beside the gateway sees to it that it does.
SHOWN = ("gateway_election_leader", "gateway_election_term", "gateway_election_lease_left_seconds")
Metric = tuple[str, str, frozenset[tuple[str, str]]]


def rendered(name: str, **chosen: Any) -> Any:
    """A variable of the roles, with their defaults and what an operator chooses."""
    variables: dict[str, Any] = {"__alarms_topic": {"sns_arn": "arn:aws:sns:eu-central-1:123456789012:gateways-alarms"}}
    for role in ("cloudwatch_agent", "alarms"):
        for file in ("defaults", "vars"):
            variables |= trusted(yaml.safe_load((ROOT / "roles" / role / file / "main.yml").read_text()))
    return Templar(DataLoader(), {**variables, **CHOSEN, **chosen}).template(trusted("{{ " + name + " }}"))


def watched() -> list[tuple[str, Metric]]:
    found = []
    for alarm in rendered("_alarms_wanted"):
        metrics = [metric["MetricStat"]["Metric"] for metric in alarm.get("Metrics", []) if "MetricStat" in metric]
        for metric in metrics or [alarm]:
            pairs = frozenset((pair["Name"], pair["Value"]) for pair in metric["Dimensions"])
            found.append((alarm["AlarmName"], (metric["Namespace"], metric["MetricName"], pairs)))
    return found


def sent_by_the_agent() -> set[Metric]:
    """Only what it sends without the instance: the instance's dimension changes with each instance."""
    config, scrape = rendered("_cloudwatch_agent_config"), rendered("_cloudwatch_agent_scrape")
    metrics, gateway = config["metrics"], config["logs"]["metrics_collected"]["prometheus"]
    sent: set[Metric] = set()
    for dimensions in metrics["aggregation_dimensions"]:
        assert set(dimensions) <= set(metrics["append_dimensions"])
        pairs = frozenset((name, CHOSEN["alarms_autoscaling_group"]) for name in dimensions)
        for plugin, settings in metrics["metrics_collected"].items():
            for measurement in settings["measurement"]:
                name = measurement if measurement.startswith(f"{plugin}_") else f"{plugin}_{measurement}"
                sent.add((metrics["namespace"], name, pairs))
    (job,) = scrape["scrape_configs"]
    labels = job["static_configs"][0]["labels"]
    processor = gateway["emf_processor"]
    for declaration in processor["metric_declaration"]:
        assert re.search(declaration["label_matcher"], job["job_name"])
        for dimensions in declaration["dimensions"]:
            pairs = frozenset((name, labels[name]) for name in dimensions)
            for selector in declaration["metric_selectors"]:
                sent |= {(processor["metric_namespace"], name, pairs) for name in SHOWN if re.search(selector, name)}
    return sent


@pytest.mark.parametrize(("alarm", "metric"), watched(), ids=lambda part: part if isinstance(part, str) else part[1])
def test_what_is_watched_is_sent(alarm: str, metric: Metric) -> None:
    namespace, name, pairs = metric
    if namespace == "AWS/ApplicationELB":
        arns = {"LoadBalancer": "app/gateways/50dc", "TargetGroup": "targetgroup/gateways/73e2d6"}
        assert pairs == {(dimension, arns[dimension]) for dimension in OF_BALANCERS[name]}
    else:
        assert metric in sent_by_the_agent(), alarm


def test_all_that_is_asked_for_is_watched() -> None:
    watches = {alarm.removeprefix("gateways-") for alarm, _metric in watched()}
    asked = "unhealthy-hosts target-5xx balancer-5xx p99 memory cpu no-leader two-leaders"
    assert watches == set(asked.split())
    assert rendered("_alarms_unwanted") == []
    assert rendered("_alarms_unwanted", alarms_fleet="") == ["gateways-no-leader", "gateways-two-leaders"]


def test_leadership_is_told_once_in_each_period_of_its_alarms() -> None:
    assert rendered("_cloudwatch_agent_scrape")["global"]["scrape_interval"] == "1m"
    alarms = {alarm["AlarmName"]: alarm for alarm in rendered("_alarms_wanted")}
    for name in ("gateways-no-leader", "gateways-two-leaders"):
        # One handover is seen in one minute at most.
        assert (alarms[name]["Period"], alarms[name]["EvaluationPeriods"]) == (60, 2)
        assert alarms[name].get("DatapointsToAlarm", 2) == 2
    # Gateways without data have no leader; they do not have two.
    assert alarms["gateways-no-leader"]["TreatMissingData"] == "breaching"
    assert alarms["gateways-two-leaders"]["TreatMissingData"] == "notBreaching"


def test_the_agent_s_configuration_has_nothing_that_the_agent_does_not_know() -> None:
    assert config_problems(rendered("_cloudwatch_agent_config")) == []
    scrape = {file["path"]: file["json"] for file in rendered("cloudwatch_agent_declaration")["files"]}
    config = rendered("_cloudwatch_agent_config")
    assert config["logs"]["metrics_collected"]["prometheus"]["prometheus_config_path"] in scrape
    assert rendered("_cloudwatch_agent_written", cloudwatch_agent_fleet="")[1:] == []
    assert "logs" not in rendered("_cloudwatch_agent_config", cloudwatch_agent_fleet="")


def test_the_dashboard_has_a_graph_for_each_alarm() -> None:
    widgets = rendered("_alarms_dashboard")["widgets"]
    assert [widget["properties"]["title"] for widget in widgets] == [
        alarm["AlarmName"] for alarm in rendered("_alarms_wanted")
    ]
    places = {(widget["x"], widget["y"]) for widget in widgets}
    assert len(places) == len(widgets)
    assert all(widget["x"] + widget["width"] <= 24 for widget in widgets)
    for widget, alarm in zip(widgets, rendered("_alarms_wanted")):
        visible = [row for row in widget["properties"]["metrics"] if row[-1].get("visible", True)]
        assert len(visible) == 1
        if "MetricName" in alarm:
            dimensions = [part for pair in alarm["Dimensions"] for part in (pair["Name"], pair["Value"])]
            assert visible[0][:-1] == [alarm["Namespace"], alarm["MetricName"], *dimensions]
