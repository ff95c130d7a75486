# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lifecycle of an Auto Scaling group: instances that wait for a lifecycle action, which moto lacks."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

from moto.autoscaling.models import InstanceState, autoscaling_backends
from werkzeug.wrappers import Request, Response

from .calls import Call, error, parameters
from .targets import TargetStates

NAMESPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
NEXT = {
    ("Pending:Wait", "CONTINUE"): "InService",
    ("Pending:Wait", "ABANDON"): "Terminating:Proceed",
    ("Terminating:Wait", "CONTINUE"): "Terminating:Proceed",
    ("Terminating:Wait", "ABANDON"): "Terminating:Proceed",
}


class Lifecycles:
    """Where a group has a hook, an instance that is attached or terminated waits for CompleteLifecycleAction.

    One that is terminated leaves its target groups first, as AWS does it, and one that is to be in service enters them.
    `told` is what clients said of instances.
    """

    def __init__(self, states: TargetStates, account: str, region: str) -> None:
        self.told: list[tuple[str, str, str]] = []
        self._states = states
        self._backend = autoscaling_backends[account][region]
        self._attached: set[str] = set()
        self._later: list[dict[str, str]] = []
        self._lock = threading.Lock()

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "autoscaling":
            return None
        given = parameters(request)
        with self._lock:
            self._advance()
            if call.action in ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"):
                return self._act(call, given)
            if call.action == "TerminateInstanceInAutoScalingGroup":
                return self._terminate(given.get("InstanceId", ""))
            if call.action in ("CreateAutoScalingGroup", "UpdateAutoScalingGroup"):
                self._later.append(given)
            if call.action == "AttachInstances" and self._hooks(given["AutoScalingGroupName"], LAUNCHING):
                self._attached |= {value for name, value in given.items() if name.startswith("InstanceIds.")}
        return None

    def _advance(self) -> None:
        while self._later:  # what moto leaves out of the groups that it made since
            self._complement(self._later.pop())
        for instance in self._instances():
            if instance.instance_id in self._attached:
                self._attached.remove(instance.instance_id)
                instance.lifecycle_state = "Pending:Wait"
            if instance.lifecycle_state == "Terminating" and not any(
                self._states.drains(arn, instance.instance_id) for arn in instance.auto_scaling_group.target_group_arns
            ):
                instance.lifecycle_state = "Terminating:Wait"

    def _complement(self, given: dict[str, str]) -> None:
        name = given["AutoScalingGroupName"]
        group = self._backend.autoscaling_groups.get(name)
        if group is None:
            return
        if "DefaultInstanceWarmup" in given:
            group.default_instance_warmup = int(given["DefaultInstanceWarmup"])
        if "CapacityRebalance" in given:
            group.capacity_rebalance = given["CapacityRebalance"] == "true"
        for number in itertools.count(1):
            hook = f"LifecycleHookSpecificationList.member.{number}"
            if f"{hook}.LifecycleHookName" not in given:
                return
            self._backend.create_lifecycle_hook(
                given[f"{hook}.LifecycleHookName"],
                name,
                given[f"{hook}.LifecycleTransition"],
                int(given[f"{hook}.HeartbeatTimeout"]),
                given[f"{hook}.DefaultResult"],
            )

    def _act(self, call: Call, given: dict[str, str]) -> Response:
        group, hook, identifier = (
            given.get(name, "") for name in ("AutoScalingGroupName", "LifecycleHookName", "InstanceId")
        )
        instance = next((found for found in self._instances() if found.instance_id == identifier), None)
        waits_for = TERMINATING if instance and instance.lifecycle_state.startswith("Terminating") else LAUNCHING
        waits = instance and instance.lifecycle_state.endswith(":Wait") and instance.auto_scaling_group_name == group
        if not instance or not waits or hook not in self._hooks(group, waits_for):
            message = f"No active Lifecycle Action found with instance ID {identifier}"
            return error(call, "ValidationError", message)
        result = given.get("LifecycleActionResult", "")
        self.told.append((hook, identifier, result or "heartbeat"))
        if result:
            instance.lifecycle_state = NEXT[instance.lifecycle_state, result]
            if instance.lifecycle_state == "InService":
                for arn in instance.auto_scaling_group.target_group_arns:
                    self._states.register(arn, identifier)
        return _xml(call.action)

    def _terminate(self, identifier: str) -> Response | None:
        instance = next((found for found in self._instances() if found.instance_id == identifier), None)
        if not instance or not self._hooks(instance.auto_scaling_group_name, TERMINATING):
            return None
        instance.lifecycle_state = "Terminating"
        for arn in instance.auto_scaling_group.target_group_arns:
            self._states.deregister(arn, identifier)
        return _xml("TerminateInstanceInAutoScalingGroup")

    def _instances(self) -> Iterable[InstanceState]:
        return list(self._backend.describe_auto_scaling_instances([]))

    def _hooks(self, group: str, transition: str) -> set[str]:
        return {
            hook.name
            for hook in self._backend.describe_lifecycle_hooks(group)
            if hook.lifecycle_transition == transition
        }


def _xml(action: str) -> Response:
    body = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result/></{action}Response>'
    return Response(body, content_type="text/xml")
