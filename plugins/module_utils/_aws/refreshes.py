# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance refresh of an Auto Scaling group: start it or join it, wait for it, cancel it, roll it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .._common.progress import OperationError, Progress
from .api import Api, RefusedError
from .groups import Group, Template, matches

LONGEST_PAUSE = 10.0
GOES_ON = ("Pending", "InProgress", "Baking")
BEING_ENDED = ("Cancelling", "RollbackInProgress")
# Option, name in the API, and allowed values.
RANGES = {
    "min_healthy_percentage": ("MinHealthyPercentage", 0, 100),
    "max_healthy_percentage": ("MaxHealthyPercentage", 100, 200),
    "instance_warmup": ("InstanceWarmup", 0, None),
    "checkpoint_delay": ("CheckpointDelay", 0, 172800),
    "bake_time": ("BakeTime", 0, 172800),
}
MOST_ALARMS = 10
NO_WAY_BACK = (
    "AWS rolls back only what was started with a launch template, and only to a group whose own one has a number for a "
    "version. Use state=cancelled, and start one with the previous launch template."
)


@dataclass(frozen=True)
class Refresh:
    """An instance refresh as AWS returns it; template is that of its desired configuration, if it has one."""

    id: str
    status: str
    reason: str
    percentage: int
    to_update: int
    started: datetime | None
    ended: datetime | None
    template: Template | None
    preferences: Mapping[str, Any]
    rollback_reason: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Refresh:
        wanted = said.get("DesiredConfiguration", {})
        mixed = wanted.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification")
        return cls(
            id=said["InstanceRefreshId"],
            status=said["Status"],
            reason=said.get("StatusReason", ""),
            percentage=said.get("PercentageComplete", 0),
            to_update=said.get("InstancesToUpdate", 0),
            started=said.get("StartTime"),
            ended=said.get("EndTime"),
            template=Template.of(wanted.get("LaunchTemplate") or mixed),
            preferences=said.get("Preferences", {}),
            rollback_reason=said.get("RollbackDetails", {}).get("RollbackReason", ""),
        )

    @property
    def active(self) -> bool:
        return self.status in GOES_ON + BEING_ENDED

    @property
    def why(self) -> str:
        return "; ".join(words.rstrip(".") for words in (self.rollback_reason, self.reason) if words)

    @property
    def words(self) -> str:
        """Its state, for a line of progress."""
        why = f" ({self.why})" if self.why else ""
        return f"{self.status}, {self.percentage} % complete, {self.to_update} to update{why}"

    @property
    def about(self) -> str:
        """Its state, target and start time, for a message."""
        brings = f"to {self.template.words}" if self.template else "of the group's own configuration"
        since = f" since {self.started:%Y-%m-%d %H:%M:%S %Z}" if self.started else ""
        return f"{self.id} ({brings}){since}: {self.words}"

    def result(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "active": self.active,
            "reason": self.reason,
            "rollback_reason": self.rollback_reason,
            "percentage_complete": self.percentage,
            "instances_to_update": self.to_update,
            "started_at": self.started.isoformat() if self.started else None,
            "ended_at": self.ended.isoformat() if self.ended else None,
            "launch_template": self.template.result() if self.template else None,
            "preferences": dict(self.preferences),
        }


@dataclass
class RefreshReport(Progress):
    """The result of a call so far."""

    changed: bool = False
    joined: bool = False
    refresh: Refresh | None = None
    replaces: list[str] = field(default_factory=list)

    def stands(self, refresh: Refresh) -> None:
        self.refresh = refresh
        self.note(refresh.words)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "joined": self.joined,
            "refresh": self.refresh.result() if self.refresh else None,
            "replaces": self.replaces,
            "progress": self.progress,
            "timeout": self.timeout,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Wish:
    """The desired configuration for the API: template is None for the group's own configuration.

    target is the same with its version number, to find instances that have it already.
    """

    template: Template | None
    target: Template | None
    preferences: Mapping[str, Any]

    def configuration(self, group: Group) -> dict[str, Any]:
        if self.template is None:
            return {}
        chosen = {"LaunchTemplateId": self.template.id, "Version": self.template.version}
        if not group.mixed:
            return {"DesiredConfiguration": {"LaunchTemplate": chosen}}
        # With the launch template alone, the group would lose its policy.
        policy = _by_id_alone(group.mixed)
        policy["LaunchTemplate"] = {**policy.get("LaunchTemplate", {}), "LaunchTemplateSpecification": chosen}
        return {"DesiredConfiguration": {"MixedInstancesPolicy": policy}}


def preferences(options: Mapping[str, Any]) -> dict[str, Any]:
    """The preferences for the API; OperationError for values that AWS would refuse."""
    wrong = []
    wanted: dict[str, Any] = {"SkipMatching": options["skip_matching"]}
    for option, (name, least, most) in RANGES.items():
        value = options[option]
        if value is None:
            continue
        wanted[name] = value
        if value < least or (most is not None and value > most):
            wrong.append(f"{option} is {value}, and has to be at least {least}{f' and at most {most}' if most else ''}")
    lowest, highest = options["min_healthy_percentage"], options["max_healthy_percentage"]
    if highest is not None and lowest is None:
        wrong.append("max_healthy_percentage needs min_healthy_percentage")
    elif highest is not None and highest - lowest > 100:
        wrong.append("max_healthy_percentage and min_healthy_percentage are more than 100 apart")
    checkpoints = options["checkpoints"]
    if checkpoints:
        wanted["CheckpointPercentages"] = checkpoints
        if checkpoints != sorted(set(checkpoints)) or not 1 <= checkpoints[0] <= checkpoints[-1] <= 100:
            wrong.append("checkpoints have to ascend from at least 1 to at most 100")
    elif options["checkpoint_delay"] is not None:
        wrong.append("checkpoint_delay needs checkpoints")
    if options["alarms"]:
        wanted["AlarmSpecification"] = {"Alarms": options["alarms"]}
        if len(options["alarms"]) > MOST_ALARMS:
            wrong.append(f"{len(options['alarms'])} alarms are more than {MOST_ALARMS}")
    if options["auto_rollback"]:
        wanted["AutoRollback"] = True
        if not options["launch_template"]:
            wrong.append("auto_rollback needs launch_template, as AWS can't roll back without it")
    for option, name in (("scale_in_protected", "ScaleInProtectedInstances"), ("standby", "StandbyInstances")):
        if options[option]:
            wanted[name] = options[option].capitalize()
    if wrong:
        raise OperationError(f"Nothing was changed: {'; '.join(wrong)}.")
    return wanted


def to_replace(group: Group, wish: Wish) -> list[str]:
    """The instances that a refresh would replace."""
    passes_over = wish.preferences
    return [
        instance.id
        for instance in group.instances
        if not (passes_over["SkipMatching"] and matches(instance, wish.target))
        and not (instance.protected and passes_over.get("ScaleInProtectedInstances") == "Ignore")
        and not (instance.in_standby and passes_over.get("StandbyInstances") == "Ignore")
    ]


def decide(group: Group, wish: Wish, active: Refresh | None) -> str:
    """Whether to start one, to join the one that runs, or nothing; OperationError where another one runs."""
    if active is None:
        keeps = wish.preferences["SkipMatching"] and (
            wish.template is None or (group.template is not None and wish.template.same(group.template))
        )
        return "nothing" if keeps and not to_replace(group, wish) else "start"
    same = wish.template.same(active.template) if wish.template else active.template is None
    if same and active.status in GOES_ON:
        return "join"
    raise OperationError(
        f"Nothing was changed: {'the' if same else 'another'} instance refresh of {group.name} "
        f"{'is being ended' if same else 'is running'}, {active.about}. Wait for it with state=awaited, or end it with "
        "state=cancelled or state=rolled_back."
    )


def diff(
    before: Group, after: Group, report: RefreshReport, target: Template | None, *, check_mode: bool
) -> dict[str, Any]:
    """The launch template of each instance; in check mode, what would become of it."""

    def standings(group: Group) -> dict[str, str]:
        return {instance.id: instance.template.words if instance.template else "" for instance in group.instances}

    expected = standings(after)
    if check_mode:
        brought = target.words if target else "the group's own"
        expected.update(dict.fromkeys(report.replaces, f"replaced by one of {brought}"))
    return {"before": standings(before), "after": expected}


class Refreshes:
    """The instance refreshes of one group."""

    def __init__(self, api: Api, group: str) -> None:
        self._api = api
        self._group = group

    def all(self, most: int = 20) -> list[Refresh]:
        """From the newest."""
        said = self._call("DescribeInstanceRefreshes", MaxRecords=most)
        return [Refresh.of(item) for item in said["InstanceRefreshes"]]

    def active(self) -> Refresh | None:
        return next((refresh for refresh in self.all() if refresh.active), None)

    def one(self, identifier: str) -> Refresh:
        said = self._call("DescribeInstanceRefreshes", InstanceRefreshIds=[identifier])["InstanceRefreshes"]
        if not said:
            raise OperationError(
                f"{self._group} has no instance refresh {identifier} (AWS forgets them after six weeks)."
            )
        return Refresh.of(said[0])

    def start(self, group: Group, wish: Wish, report: RefreshReport, *, check_mode: bool = False) -> None:
        """Start the refresh, or join a running one to the same target; the report has it."""
        for first in (True, False):
            active = self.active()
            report.replaces = to_replace(group, wish)
            decision = decide(group, wish, active)
            if decision == "join" and active:
                report.joined = True
                report.stands(active)
                different = sorted(_differing(wish.preferences, active.preferences))
                if different:
                    report.warnings.append(
                        f"The instance refresh that runs was started with other preferences ({', '.join(different)}); "
                        "they stay as they are."
                    )
            if decision == "start":
                self._refuse_no_way_back(group, wish)
            if decision != "start" or check_mode:
                report.changed = decision != "nothing"
                return
            if wish.preferences.get("AutoRollback") and wish.template and wish.template.same(group.template):
                report.warnings.append(
                    f"{group.name} launches {wish.template.words} already, so that auto_rollback would bring "
                    "nothing else."
                )
            try:
                arguments = {**wish.configuration(group), "Preferences": dict(wish.preferences)}
                started = self._call("StartInstanceRefresh", **arguments)
            except RefusedError as error:
                # Another process started one; or this one did, and AWS's answer was lost.
                if error.code == "InstanceRefreshInProgress" and first:
                    continue
                raise
            report.changed = True
            report.stands(self.one(started["InstanceRefreshId"]))
            return

    @staticmethod
    def _refuse_no_way_back(group: Group, wish: Wish) -> None:
        own = group.template
        if not wish.preferences.get("AutoRollback") or own is None or own.fixed:
            return
        raise OperationError(
            f"Nothing was changed: auto_rollback can't roll back, because {group.name} follows {own.version} of the "
            f"launch template {own.name or own.id} and AWS rolls back only to a number. Set the group's version to a "
            "number first (scaling_group with launch_template_version=kept does), or leave auto_rollback out."
        )

    def cancel(self, report: RefreshReport, *, check_mode: bool = False) -> None:
        active = self.active()
        if active:
            report.stands(active)
            if active.status != "Cancelling":
                report.changed = self._end("CancelInstanceRefresh", check_mode)

    def roll_back(self, report: RefreshReport, *, check_mode: bool = False) -> None:
        last = next(iter(self.all()), None)
        if last is None or last.status not in (*GOES_ON, "RollbackInProgress", "RollbackSuccessful"):
            which = f" The last one is {last.about}." if last else ""
            raise OperationError(
                f"Nothing was changed: no instance refresh of {self._group} can be rolled back.{which}"
                " Start one with the previous launch template."
            )
        report.stands(last)
        if last.status in GOES_ON:
            if last.template is None:
                raise OperationError(f"Nothing was changed: {NO_WAY_BACK}")
            report.changed = self._end("RollbackInstanceRefresh", check_mode)

    def wait(self, report: RefreshReport, *, wanted: Sequence[str], percentage: int | None = None) -> bool:
        """Wait for its end or a percentage; returns whether that was in time. OperationError if it ended otherwise."""
        if report.refresh is None:
            return True
        identifier = report.refresh.id

        def arrived() -> bool:
            now = self.one(identifier)
            report.stands(now)
            return not now.active or (percentage is not None and now.percentage >= percentage)

        if not report.wait(arrived, LONGEST_PAUSE):
            return False
        if not report.refresh.active and report.refresh.status not in wanted:
            raise OperationError(
                f"The instance refresh of {self._group} did not end as requested: {report.refresh.about}."
            )
        return True

    def _end(self, operation: str, check_mode: bool) -> bool:
        """Returns whether there was one to end."""
        if check_mode:
            return True
        try:
            self._call(operation)
        except RefusedError as error:
            if error.code == "IrreversibleInstanceRefresh":
                raise OperationError(f"Nothing was changed: {error.said.rstrip('.')}. {NO_WAY_BACK}") from None
            if error.code != "ActiveInstanceRefreshNotFound":
                raise
            return False
        return True

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        what = f"the group {self._group}"
        return self._api.call(operation, what, AutoScalingGroupName=self._group, **arguments)


def _differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> set[str]:
    """Preferences that differ from the requested ones; AWS adds its defaults to them."""
    return {name for name, value in wanted.items() if found.get(name, False if value is False else None) != value}


def _by_id_alone(said: Any) -> Any:
    """Templates have id and name in responses, and must not have both in requests."""
    if isinstance(said, Mapping):
        named = {name: _by_id_alone(value) for name, value in said.items()}
        if named.get("LaunchTemplateId"):
            named.pop("LaunchTemplateName", None)
        return named
    return [_by_id_alone(item) for item in said] if isinstance(said, list) else said
