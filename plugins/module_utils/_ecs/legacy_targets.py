# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target groups with the addresses of the tasks that legacy services run, beside the groups of those that replace them.

Amazon ECS does not register these targets, so each call compares them with the tasks that run now. The tag OWNER says
that a group was created here, and SINCE when, which is before its service got the first connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._aws import target_group
from .._aws.api import Api
from .._aws.listeners import forward_to
from .._aws.pairs import as_dict, as_pairs
from .._aws.tags import recorded
from .._common.progress import OperationError, Progress
from . import internal
from .definition_lookup import described_definition
from .usage import TASKS_AT_ONCE, portions, refuse_failures

OWNER = "evenkeel:legacy"
SINCE = "evenkeel:canary"
DELAY = "deregistration_delay.timeout_seconds"
INTERFACE, ADDRESS = "ElasticNetworkInterface", "privateIPv4Address"
RUNNING = "RUNNING"
WHOLE = 100
# Seconds, because DescribeTargetHealth lags behind.
DRAIN_MARGIN = 60
LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class LegacyService:
    """service: the legacy one. like: the target group of the new one. group: the name of the group beside it.

    port: of the legacy containers, 0 for the one that the task definition has. listener: ARN of the one that forwards.
    """

    service: str
    like: str
    group: str
    port: int
    listener: str


@dataclass
class TargetsReport(Progress):
    """The result of a call so far. By group: `arn`, `port` and `targets`; before and after are the targets."""

    changed: bool = False
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    since: str = ""
    before: dict[str, list[str]] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "groups": self.groups,
            "since": self.since,
            "progress": self.progress,
            "seconds": round(self.seconds, 3),
            "diff": {"before": self.before, "after": self.after},
        }


def addresses(tasks: Sequence[Mapping[str, Any]], service: str) -> list[str]:
    """Of the described tasks that run."""
    found = []
    for task in tasks:
        if task.get("lastStatus") != RUNNING or task.get("desiredStatus") != RUNNING:
            continue
        details = {
            one["name"]: one["value"]
            for attached in task.get("attachments", [])
            if attached.get("type") == INTERFACE
            for one in attached.get("details", [])
        }
        if not details.get(ADDRESS):
            raise OperationError(
                f"The tasks of the service {service} have no addresses of their own, because their network mode is not "
                "awsvpc. A load balancer can't get them as targets: leave out ecs_cutover_weights."
            )
        found.append(details[ADDRESS])
    return sorted(found)


def container_port(service: Mapping[str, Any], definition: Mapping[str, Any], usual: int) -> int:
    """Of a described service: that of its load balancers, or the only one, or `usual` if it is one of them."""
    balanced = {int(one["containerPort"]) for one in service.get("loadBalancers", []) if one.get("containerPort")}
    mapped = {
        int(one["containerPort"])
        for container in definition["containerDefinitions"]
        for one in container.get("portMappings", [])
    }
    for ports in (balanced, mapped):
        if len(ports) == 1:
            return ports.pop()
        if usual in ports:
            return usual
    listed = ", ".join(str(port) for port in sorted(balanced | mapped)) or "none"
    raise OperationError(
        f"The port of the service {service['serviceName']} is not known; its containers have {listed}. Set legacy.port."
    )


class LegacyTargets:
    """Of one cluster. `now`: the time as ISO 8601."""

    def __init__(self, elb: Api, ecs: Api, cluster: str, now: Callable[[], str]) -> None:
        self._elb = elb
        self._ecs = ecs
        self._cluster = cluster
        self._now = now

    def ensure(
        self,
        wanted: Sequence[LegacyService],
        tags: Mapping[str, str],
        report: TargetsReport,
        *,
        create: bool,
        check_mode: bool,
    ) -> None:
        """Create the groups, and make their targets the tasks that run. Without `create`, only of our groups there."""
        found = self._groups(wanted)
        described = internal.services(self._ecs, self._cluster, [one.service for one in wanted])
        for one in wanted:
            group = found.get(one.group)
            since = self._since(group) if group else self._now()
            if since is None and create:
                raise OperationError(
                    f"The target group {one.group} exists without the tag {OWNER}, so it is not of a cutover. Delete "
                    "it, or set another target_group for the service."
                )
            if not create and (group is None or since is None):
                continue
            if one.service not in described:
                raise OperationError(
                    f"The cluster {self._cluster} has no active service {one.service}. Correct legacy.service."
                )
            report.since = min(filter(None, (report.since, since)), default="")
            running = addresses(self._tasks(one.service), one.service)
            port = int(group["Port"]) if group and not create else self._port(one, described, found)
            arn = group["TargetGroupArn"] if group else ""
            if create:
                declared = self._wanted(one, found, port, since or "", tags)
                if group is None and not check_mode:
                    self._create(declared)
                    report.changed = True
                outcome = target_group.ensure(self._elb, declared, check_mode)
                arn, report.changed = outcome.arn, report.changed or outcome.changed
            self._make_targets(one, arn, port, running, report, check_mode=check_mode)
            if create and one.listener:
                self._add_to_listener(one, found, arn, report, check_mode=check_mode)
        if create and not check_mode and report.timeout:
            self._await_healthy(wanted, report)

    def remove(self, wanted: Sequence[LegacyService], report: TargetsReport, *, force: bool, check_mode: bool) -> None:
        """Drain and delete the groups that exist; their listeners forward to the other group alone."""
        found = self._groups(wanted)
        there = [one for one in wanted if one.group in found and self._since(found[one.group]) is not None]
        for one in there:
            listed = self._registered(found[one.group])
            report.before[one.group], report.after[one.group] = sorted(listed), []
            report.changed = True
            self._refuse_share(one, found, force)
        if check_mode:
            return
        for one in there:
            if self._shares(one, found):
                self._forward(one, self._new(one, found), found[one.group]["TargetGroupArn"])
            self._deregister(one, found[one.group])
        self._await_drained(there, found, report)
        for one in there:
            if one.listener and found[one.group]["TargetGroupArn"] in self._weights(one):
                self._forward(one, self._new(one, found))
            about = f"the target group {one.group}"
            self._elb.call("DeleteTargetGroup", about, TargetGroupArn=found[one.group]["TargetGroupArn"])
            report.note(f"{one.group}: deleted")

    def _groups(self, wanted: Sequence[LegacyService]) -> dict[str, dict[str, Any]]:
        return internal.target_groups(self._elb, [name for one in wanted for name in (one.like, one.group)])

    def _since(self, group: Mapping[str, Any]) -> str | None:
        """When the group was created; None for one of others."""
        name, arn = group["TargetGroupName"], group["TargetGroupArn"]
        said = self._elb.call("DescribeTags", f"the target group {name}", ResourceArns=[arn])["TagDescriptions"]
        tags = as_dict(said[0]["Tags"]) if said else {}
        return tags.get(SINCE, "") if OWNER in tags else None

    def _create(self, wanted: target_group.Wanted) -> None:
        """With its tags at once, so that a run that is killed leaves none that the next one does not know."""
        about = f"the target group {wanted.name}"
        tags = as_pairs(recorded(wanted.tags or {}))
        self._elb.call("CreateTargetGroup", about, **target_group.creation(wanted), Tags=tags)

    def _tasks(self, service: str) -> list[Mapping[str, Any]]:
        about = f"the tasks of the service {service}"
        given = {"cluster": self._cluster, "serviceName": service, "desiredStatus": RUNNING}
        arns = list(self._ecs.pages("ListTasks", about, "taskArns", **given))
        found: list[Mapping[str, Any]] = []
        for some in portions(arns, TASKS_AT_ONCE):
            said = self._ecs.call("DescribeTasks", about, cluster=self._cluster, tasks=some)
            refuse_failures(said, about)
            found += said["tasks"]
        return found

    def _port(
        self, one: LegacyService, described: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
    ) -> int:
        if one.port:
            return one.port
        usual = int((found.get(one.like) or {}).get("Port") or 0)
        service = described[one.service]
        return container_port(service, described_definition(self._ecs, service["taskDefinition"]), usual)

    def _wanted(
        self,
        one: LegacyService,
        found: Mapping[str, Mapping[str, Any]],
        port: int,
        since: str,
        tags: Mapping[str, str],
    ) -> target_group.Wanted:
        arn, about = self._new(one, found), f"the target group {one.like}"
        like = found[one.like]
        said = self._elb.call("DescribeTargetGroupAttributes", about, TargetGroupArn=arn)["Attributes"]
        health = {name: like[api] for name, api in target_group.HEALTH.items() if like.get(api) is not None}
        if like.get("Matcher", {}).get("HttpCode") and health.get("protocol") != "TCP":
            health["matcher"] = like["Matcher"]["HttpCode"]
        if health.get("protocol") == "TCP":
            health.pop("path", None)
        return target_group.Wanted(
            name=one.group,
            protocol=like["Protocol"],
            port=port,
            vpc_id=like["VpcId"],
            target_type="ip",
            health=health,
            attributes={key: value for key, value in as_dict(said).items() if key == DELAY},
            tags={**tags, OWNER: one.service, SINCE: since},
        )

    def _registered(self, group: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """By address and port, the targets that do not drain, as RegisterTargets takes them."""
        found = {}
        for target in internal.targets(self._elb, group):
            address, _colon, port = target["id"].rpartition(":")
            found[target["id"]] = {"Id": address, "Port": int(port)}
        return found

    def _make_targets(
        self,
        one: LegacyService,
        arn: str,
        port: int,
        running: Sequence[str],
        report: TargetsReport,
        *,
        check_mode: bool,
    ) -> None:
        group = {"TargetGroupName": one.group, "TargetGroupArn": arn}
        before = self._registered(group) if arn else {}
        wanted: dict[str, dict[str, Any]] = {f"{host}:{port}": {"Id": host, "Port": port} for host in running}
        report.groups[one.group] = {"arn": arn, "port": port, "targets": sorted(wanted)}
        report.before[one.group], report.after[one.group] = sorted(before), sorted(wanted)
        about = f"the target group {one.group}"
        new = [key for name, key in wanted.items() if name not in before]
        gone = [key for name, key in before.items() if name not in wanted]
        report.changed = report.changed or bool(new or gone)
        if check_mode:
            return
        # A group without targets would fail each connection, so the new ones come first.
        if new:
            self._elb.call("RegisterTargets", about, TargetGroupArn=arn, Targets=new)
            report.note(f"{one.group}: registered {', '.join(str(key['Id']) for key in new)}")
        if gone:
            self._elb.call("DeregisterTargets", about, TargetGroupArn=arn, Targets=gone)
            report.note(f"{one.group}: deregistered {', '.join(str(key['Id']) for key in gone)}")

    def _add_to_listener(
        self,
        one: LegacyService,
        found: Mapping[str, Mapping[str, Any]],
        arn: str,
        report: TargetsReport,
        *,
        check_mode: bool,
    ) -> None:
        """With the weight 0, because targets of a group without a load balancer have no health checks."""
        weights = self._weights(one)
        if arn in weights:
            return
        report.changed = True
        if not check_mode:
            self._forward(one, found[one.like]["TargetGroupArn"], arn)
            report.note(f"{one.group}: health checks begin")

    def _await_healthy(self, wanted: Sequence[LegacyService], report: TargetsReport) -> None:
        last: list[str] = []

        def healthy() -> bool:
            nonlocal last
            last = []
            for one in wanted:
                told = report.groups[one.group]
                group = {"TargetGroupName": one.group, "TargetGroupArn": told["arn"]}
                listed = internal.targets(self._elb, group)
                sick = [target for target in listed if target["state"] != "healthy"]
                if not listed:
                    last.append(f"{one.service}: no task runs")
                last += [
                    f"{one.service}: the target {target['id']} is "
                    f"{': '.join(filter(None, (target['state'], target['reason'])))}"
                    for target in sick
                ]
            for line in last:
                report.note(line)
            return not last

        if not report.wait(healthy, LONGEST_PAUSE):
            ports = ", ".join(sorted({str(report.groups[one.group]["port"]) for one in wanted}))
            raise OperationError(
                f"Legacy services are not healthy from the load balancer after {report.timeout:g} s: {'; '.join(last)}."
                " The security groups of their tasks must admit the load balancer's security groups, or its subnets, "
                f"on port {ports}, and the health check of the new service must fit the legacy one."
            )

    def _deregister(self, one: LegacyService, group: Mapping[str, Any]) -> None:
        listed = list(self._registered(group).values())
        if listed:
            about = f"the target group {one.group}"
            self._elb.call("DeregisterTargets", about, TargetGroupArn=group["TargetGroupArn"], Targets=listed)

    def _await_drained(
        self, wanted: Sequence[LegacyService], found: Mapping[str, Mapping[str, Any]], report: TargetsReport
    ) -> None:
        last: list[str] = []

        def drained() -> bool:
            nonlocal last
            last = [one.group for one in wanted if self._has_targets(found[one.group])]
            for name in last:
                report.note(f"{name}: its targets drain")
            return not last

        if wanted and not report.wait(drained, LONGEST_PAUSE):
            raise OperationError(
                f"The targets of {', '.join(last)} still drain after {report.timeout:g} s. Run the same again, which "
                "deletes the target groups."
            )

    def _has_targets(self, group: Mapping[str, Any]) -> bool:
        about = f"the target group {group['TargetGroupName']}"
        said = self._elb.call("DescribeTargetHealth", about, TargetGroupArn=group["TargetGroupArn"])
        return bool(said["TargetHealthDescriptions"])

    def _weights(self, one: LegacyService) -> dict[str, int]:
        said = self._elb.call("DescribeListeners", f"the listener {one.listener}", ListenerArns=[one.listener])
        return {arn: weight for listener in said["Listeners"] for arn, weight in internal.weights(listener).items()}

    def _shares(self, one: LegacyService, found: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the legacy group gets new connections."""
        weights = self._weights(one) if one.listener else {}
        arn = found[one.group]["TargetGroupArn"]
        return bool(weights.get(arn)) or set(weights) == {arn}

    def _refuse_share(self, one: LegacyService, found: Mapping[str, Mapping[str, Any]], force: bool) -> None:
        if not force and self._shares(one, found):
            raise OperationError(
                f"The target group {one.group} was not removed: its listener sends it new connections. Set its weight "
                "to 0 first."
            )

    def _new(self, one: LegacyService, found: Mapping[str, Mapping[str, Any]]) -> str:
        if one.like not in found:
            raise OperationError(f"There is no target group {one.like}: run ecs.yml --tags load_balancer.")
        return str(found[one.like]["TargetGroupArn"])

    def _forward(self, one: LegacyService, arn: str, beside: str = "") -> None:
        """All new connections to a group; `beside` is another one, which gets none."""
        action = forward_to(arn)
        if beside:
            shares = {arn: WHOLE, beside: 0}
            action["ForwardConfig"]["TargetGroups"] = [
                {"TargetGroupArn": group, "Weight": weight} for group, weight in shares.items()
            ]
        about = f"the listener {one.listener}"
        self._elb.call("ModifyListener", about, ListenerArn=one.listener, DefaultActions=[action])
