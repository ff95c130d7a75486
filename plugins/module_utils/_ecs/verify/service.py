# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the cluster takes the tasks of a service, and its target groups the requests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..._aws.api import RefusedError
from ..limits import problems
from .findings import Clients, Declared, Finding
from .task import containers


def sizes(declared: Declared, _clients: Clients) -> Iterator[Finding]:
    """What AWS would refuse of the task definition itself, such as its cpu and memory."""
    for problem in problems(declared["task"]):
        yield Finding("task definition", problem.rstrip("."), "")


def cluster(declared: Declared, clients: Clients) -> Iterator[Finding]:
    name = declared["cluster"]
    found = clients("ecs").call("DescribeClusters", f"the cluster {name}", clusters=[name])["clusters"]
    if not found or found[0]["status"] != "ACTIVE":
        yield Finding(f"cluster {name}", "it does not exist, or is not ACTIVE", "Create it, or correct its name.")


def counts(declared: Declared, _clients: Clients) -> Iterator[Finding]:
    """Whether a rolling update can start or stop a task. AWS accepts limits with which it does neither, and waits."""
    service, tasks = declared["service"], declared["desired_count"]
    configuration = service.get("deploymentConfiguration", {})
    if (
        not tasks
        or service.get("schedulingStrategy") == "DAEMON"
        or configuration.get("strategy", "ROLLING") != "ROLLING"
    ):
        return
    least, most = configuration.get("minimumHealthyPercent", 100), configuration.get("maximumPercent", 200)
    if math.ceil(tasks * least / 100) >= tasks >= math.floor(tasks * most / 100):
        yield Finding(
            "deploymentConfiguration",
            f"with minimumHealthyPercent {least} and maximumPercent {most}, of {tasks} tasks none may stop and none be "
            "added",
            f"Raise maximumPercent to {100 + math.ceil(100 / tasks)}, or lower minimumHealthyPercent.",
        )


def target_groups(declared: Declared, clients: Clients) -> Iterator[Finding]:
    """Whether they exist, fit the network mode, are behind a listener, and lead to a port of a container."""
    ports = {
        one["name"]: {mapping.get("containerPort") for mapping in one.get("portMappings", [])}
        for one in containers(declared)
    }
    for balancer in declared["service"].get("loadBalancers", []):
        arn, name = balancer.get("targetGroupArn", ""), balancer.get("containerName", "")
        subject = f"target group {arn.rpartition('targetgroup/')[2].partition('/')[0] or arn}"
        if name not in ports:
            yield Finding(subject, f"the task definition has no container {name}", "Correct containerName.")
        elif balancer.get("containerPort") not in ports[name]:
            port = balancer.get("containerPort")
            yield Finding(subject, f"the container {name} has no port {port}", "Add it to portMappings.")
        try:
            group = clients("elbv2").call("DescribeTargetGroups", arn, TargetGroupArns=[arn])["TargetGroups"][0]
        except RefusedError as error:
            if not error.code.startswith("TargetGroupNotFound"):
                raise
            yield Finding(subject, "it does not exist", "Create it with target_group, or correct its ARN.")
            continue
        yield from _target_group(subject, group, declared)


def _target_group(subject: str, group: Mapping[str, Any], declared: Declared) -> Iterator[Finding]:
    fits = "ip" if declared["task"].get("networkMode") == "awsvpc" else "instance"
    if group.get("TargetType") != fits:
        mode = declared["task"].get("networkMode", "bridge")
        yield Finding(
            subject,
            f"its target type is {group.get('TargetType')}, and tasks of the network mode {mode} need {fits}",
            "AWS can't change it: create another target group.",
        )
    if not group.get("LoadBalancerArns"):
        yield Finding(subject, "no listener forwards to it, and AWS refuses the service", "Add it to a listener.")
    needed = group.get("HealthCheckIntervalSeconds", 0) * group.get("HealthyThresholdCount", 0)
    grace = declared["service"].get("healthCheckGracePeriodSeconds") or 0
    if grace < needed:
        yield Finding(
            subject,
            f"a new target is healthy after {needed} s at the earliest, and healthCheckGracePeriodSeconds is {grace}",
            f"Set it to {needed} and the start-up time of the container, or ECS stops tasks that only start.",
        )
