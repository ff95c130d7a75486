# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance refreshes, which moto lacks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from botocore import xform_name
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, InstanceState, autoscaling_backends
from werkzeug.wrappers import Request, Response

from .calls import Call, error, parameters
from .query import RefusedError, answer, model, parsed

MODEL = model("autoscaling")
OPERATIONS = {
    "CancelInstanceRefresh",
    "DescribeInstanceRefreshes",
    "RollbackInstanceRefresh",
    "StartInstanceRefresh",
}
ACTIVE = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")
REFUSALS = {
    "InstanceRefreshInProgress": "An instance refresh of {} is in progress already",
    "ActiveInstanceRefreshNotFound": "No instance refresh of {} is in progress or pending",
    "IrreversibleInstanceRefresh": "The instance refresh of {} has no configuration or no version to go back to",
}


@dataclass
class Running:
    """A refresh, and what is still to be done for it: instances to replace, and when the next step is due."""

    group: str
    configuration: dict[str, Any]
    preferences: dict[str, Any]
    before: tuple[Any, str]
    old: list[str]
    due: float
    total: int
    id: str = field(default_factory=lambda: str(uuid4()))
    status: str = "Pending"
    reason: str = ""
    rollback: dict[str, Any] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    ended: datetime | None = None
    new: list[str] = field(default_factory=list)
    passed: int = 0

    @property
    def percentage(self) -> int:
        return 100 * len(self.new) // self.total if self.total else 100


class Refreshes:
    """Answers the calls about instance refreshes: every step takes a while, and one that a test wants to fails.

    step is the seconds that an instance takes. failing has, by group, after how many instances it fails, and why.
    """

    def __init__(self, account: str, region: str, step: float = 0.2) -> None:
        self._moto: AutoScalingBackend = autoscaling_backends[account][region]
        self.step = step
        self.failing: dict[str, tuple[int, str]] = {}
        self.refreshes: list[Running] = []
        self._lock = threading.Lock()
        remember_templates()

    def answer(self, call: Call, request: Request) -> Response | None:
        if call.service != "autoscaling":
            return None
        with self._lock:
            for refresh in self.refreshes:
                self._go_on(refresh)
            if call.action not in OPERATIONS:
                return None
            try:
                given = parsed(MODEL.operation_model(call.action).input_shape, parameters(request))
                return answer(MODEL, call.action, getattr(self, f"_{xform_name(call.action)}")(given))
            except RefusedError as refused:
                return error(call, *refused.args)

    def _start_instance_refresh(self, given: dict[str, Any]) -> dict[str, Any]:
        group = self._group(given)
        preferences = given.get("Preferences", {})
        configuration = given.get("DesiredConfiguration", {})
        if preferences.get("AutoRollback") and not configuration:
            raise RefusedError(
                "ValidationError",
                "The AutoRollback parameter cannot be set to true when the DesiredConfiguration parameter is empty.",
            )
        if preferences.get("AutoRollback") and not own_template(group)[1].isdecimal():
            raise RefusedError(
                "ValidationError",
                "The AutoRollback parameter cannot be set to true when the group's launch template version is $Latest "
                "or $Default.",
            )
        if any(refresh.status in ACTIVE for refresh in self._of(group)):
            raise refusal("InstanceRefreshInProgress", group.name)
        wanted = self._template(group, configuration)
        old = [
            state.instance.id
            for state in group.instance_states
            if not (preferences.get("SkipMatching") and state.launch_template == wanted)
        ]
        refresh = Running(
            group=group.name,
            configuration=configuration,
            preferences=preferences,
            before=own_template(group),
            old=old,
            due=time.monotonic() + self.step,
            total=len(old),
        )
        self.refreshes.append(refresh)
        return {"InstanceRefreshId": refresh.id}

    def _describe_instance_refreshes(self, given: dict[str, Any]) -> dict[str, Any]:
        group = self._group(given)
        wanted = given.get("InstanceRefreshIds", [])
        found = [refresh for refresh in reversed(self._of(group)) if not wanted or refresh.id in wanted]
        return {"InstanceRefreshes": [described(refresh) for refresh in found[: given.get("MaxRecords", 50)]]}

    def _cancel_instance_refresh(self, given: dict[str, Any]) -> dict[str, Any]:
        refresh = self._running(given)
        refresh.status, refresh.reason = "Cancelling", "Cancelled by user"
        refresh.due = time.monotonic() + self.step
        return {"InstanceRefreshId": refresh.id}

    def _rollback_instance_refresh(self, given: dict[str, Any]) -> dict[str, Any]:
        refresh = self._running(given)
        if not refresh.configuration or not str(refresh.before[1]).isdecimal():
            raise refusal("IrreversibleInstanceRefresh", refresh.group)
        self._roll_back(refresh, "Manual rollback")
        return {"InstanceRefreshId": refresh.id}

    def _go_on(self, refresh: Running) -> None:
        """All steps that are due by now."""
        while refresh.status in ACTIVE and time.monotonic() >= refresh.due:
            refresh.due += self.step
            getattr(self, f"_go_on_{xform_name(refresh.status)}")(refresh)

    def _go_on_pending(self, refresh: Running) -> None:
        refresh.status, refresh.reason = "InProgress", ""

    def _go_on_in_progress(self, refresh: Running) -> None:
        after, reason = self.failing.get(refresh.group, (-1, ""))
        if len(refresh.new) == after:
            if refresh.preferences.get("AutoRollback"):
                self._roll_back(refresh, reason)
            else:
                self._end(refresh, "Failed", reason)
            return
        waits = [percentage for percentage in refresh.preferences.get("CheckpointPercentages", []) if percentage < 100]
        reached = [percentage for percentage in waits if refresh.passed < percentage <= refresh.percentage]
        if reached:
            refresh.passed = reached[-1]
            refresh.due += refresh.preferences.get("CheckpointDelay", 3600)
            return
        replaceable, waiting = self._replaceable(refresh)
        if replaceable:
            self._replace(refresh, replaceable[0])
        elif waiting:
            refresh.reason = f"Waiting for {', '.join(waiting)}, which are protected from scale-in or in standby."
        elif refresh.preferences.get("BakeTime"):
            refresh.status = "Baking"
            refresh.due += refresh.preferences["BakeTime"]
        else:
            self._go_on_baking(refresh)

    def _go_on_baking(self, refresh: Running) -> None:
        group = self._moto.autoscaling_groups[refresh.group]
        use_template(group, *self._template_of(group, refresh.configuration))
        self._end(refresh, "Successful", "")

    def _go_on_cancelling(self, refresh: Running) -> None:
        self._end(refresh, "Cancelled", refresh.reason)

    def _go_on_rollback_in_progress(self, refresh: Running) -> None:
        if refresh.new:
            self._launch(refresh, refresh.new.pop(), refresh.before)
        else:
            self._end(refresh, "RollbackSuccessful", "")

    def _roll_back(self, refresh: Running, reason: str) -> None:
        refresh.rollback = {
            "RollbackReason": reason,
            "RollbackStartTime": datetime.now(timezone.utc),
            "PercentageCompleteOnRollback": refresh.percentage,
            "InstancesToUpdateOnRollback": len(refresh.old),
        }
        refresh.status, refresh.due = "RollbackInProgress", time.monotonic() + self.step

    def _end(self, refresh: Running, status: str, reason: str) -> None:
        refresh.status, refresh.reason, refresh.ended = status, reason, datetime.now(timezone.utc)

    def _replaceable(self, refresh: Running) -> tuple[list[str], list[str]]:
        """Those to replace now, and those to wait for; the rest is ignored."""
        now: list[str] = []
        waiting: list[str] = []
        protected = refresh.preferences.get("ScaleInProtectedInstances", "Wait")
        standby = refresh.preferences.get("StandbyInstances", "Wait")
        for state in self._moto.autoscaling_groups[refresh.group].instance_states:
            if state.instance.id in refresh.old:
                ways = [protected] if state.protected_from_scale_in else []
                ways += [standby] if state.lifecycle_state == "Standby" else []
                if "Ignore" not in ways:
                    (waiting if "Wait" in ways else now).append(state.instance.id)
        return now, waiting

    def _replace(self, refresh: Running, old: str) -> None:
        refresh.old.remove(old)
        group = self._moto.autoscaling_groups[refresh.group]
        refresh.new.append(self._launch(refresh, old, self._template_of(group, refresh.configuration)))

    def _launch(self, refresh: Running, instead_of: str, template: tuple[Any, str]) -> str:
        """A new instance of this template, the old one gone."""
        group = self._moto.autoscaling_groups[refresh.group]
        own = own_template(group)
        there = {state.instance.id for state in group.instance_states}
        use_template(group, *template)
        try:
            self._moto.terminate_instance(instead_of, should_decrement=False)
        finally:
            use_template(group, *own)
        return str(next(state.instance.id for state in group.instance_states if state.instance.id not in there))

    def _template_of(self, group: FakeAutoScalingGroup, configuration: Mapping[str, Any]) -> tuple[Any, str]:
        """As moto keeps it: what a configuration brings, else the group's own."""
        mixed = configuration.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        named = configuration.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification")
        if not named:
            return own_template(group)
        ec2 = self._moto.ec2_backend
        if "LaunchTemplateId" in named:
            found = ec2.get_launch_template(named["LaunchTemplateId"])
        else:
            found = ec2.get_launch_template_by_name(named["LaunchTemplateName"])
        return found, str(named.get("Version", "$Default"))

    def _template(self, group: FakeAutoScalingGroup, configuration: Mapping[str, Any]) -> dict[str, str]:
        return numbered(*self._template_of(group, configuration))

    def _running(self, given: dict[str, Any]) -> Running:
        group = self._group(given)
        found = [refresh for refresh in self._of(group) if refresh.status in ACTIVE]
        if not found:
            raise refusal("ActiveInstanceRefreshNotFound", group.name)
        return found[0]

    def _of(self, group: FakeAutoScalingGroup) -> list[Running]:
        return [refresh for refresh in self.refreshes if refresh.group == group.name]

    def _group(self, given: dict[str, Any]) -> FakeAutoScalingGroup:
        name = given["AutoScalingGroupName"]
        if name not in self._moto.autoscaling_groups:
            raise RefusedError("ValidationError", f"AutoScalingGroup name not found - {name}")
        return self._moto.autoscaling_groups[name]


def described(refresh: Running) -> dict[str, Any]:
    told = {
        "InstanceRefreshId": refresh.id,
        "AutoScalingGroupName": refresh.group,
        "Status": refresh.status,
        "StatusReason": refresh.reason,
        "StartTime": refresh.started,
        "EndTime": refresh.ended,
        "PercentageComplete": refresh.percentage,
        "InstancesToUpdate": len(refresh.old),
        "Preferences": refresh.preferences,
        "DesiredConfiguration": refresh.configuration,
        "RollbackDetails": refresh.rollback,
        "Strategy": "Rolling",
    }
    return {name: value for name, value in told.items() if value not in (None, "", {})}


def refusal(code: str, group: str) -> RefusedError:
    return RefusedError(code, REFUSALS[code].format(group))


def numbered(template: Any, version: str) -> dict[str, str]:
    numbers = {"$Default": template.default_version_number, "$Latest": template.latest_version_number}
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Version": str(numbers.get(version, version)),
    }


def own_template(group: FakeAutoScalingGroup) -> tuple[Any, str]:
    return group.ec2_launch_template, str(group.launch_template_version)


def use_template(group: FakeAutoScalingGroup, template: Any, version: str) -> None:
    group.ec2_launch_template = template
    group.launch_template_version = group.provided_launch_template_version = version
    if group.mixed_instances_policy:
        specification = {**numbered(template, version), "Version": version}
        group.mixed_instances_policy["LaunchTemplate"]["LaunchTemplateSpecification"] = specification


def remember_templates() -> None:
    """moto says of every instance that it is of the default version of its group's present template."""
    if hasattr(InstanceState, "launched_with"):
        return
    launch = InstanceState.__init__

    def launch_and_remember(self: InstanceState, *arguments: Any, **more: Any) -> None:
        launch(self, *arguments, **more)
        template, version = own_template(self.auto_scaling_group)
        self.launched_with = numbered(template, version) if template else None

    InstanceState.__init__ = launch_and_remember
    InstanceState.launched_with = None
    InstanceState.launch_template = property(lambda self: self.launched_with)
