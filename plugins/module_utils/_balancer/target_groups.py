# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target in the target groups of an ALB or NLB: deregister it, and register it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .._aws.api import Api as AwsApi
from .._aws.api import RefusedError
from .._common.progress import OperationError
from .report import Place, TargetReport
from .target import Target

# Seconds, because DescribeTargetHealth lags behind.
DRAIN_MARGIN = 60
HEALTH_MARGIN = 120
LONGEST_PAUSE = 10.0
# A tag of a target group for each deregistered target that had another port or zone than the group's. Its
# registration finds them there, also after this process was killed.
TAG = "evenkeel:out:"
MOST_TAGGED = 20
NOT_REGISTERED = "Target.NotRegistered"
# Reasons that waiting does not end.
HOPELESS = {
    "Target.NotInUse": "no listener of a load balancer forwards to the group, or its zone is not enabled there",
    "Target.InvalidState": "the instance is stopped or terminated",
    "Target.IpUnusable": "the address is in use by a load balancer",
    "Target.HealthCheckDisabled": "health checks are disabled for the group",
}


@dataclass(frozen=True)
class TargetGroup:
    """A target group; delays in seconds."""

    name: str
    arn: str
    kind: str
    port: int | None
    deregistration_delay: float
    time_to_healthy: float
    protocol: str = ""


@dataclass(frozen=True)
class Health:
    """One entry of a group: what DescribeTargetHealth returns for it."""

    id: str
    port: int | None
    zone: str | None
    state: str
    reason: str = ""
    description: str = ""

    @property
    def name(self) -> str:
        host = f"[{self.id}]" if ":" in self.id else self.id
        return f"{host}:{self.port}" if self.port else host

    @property
    def key(self) -> dict[str, Any]:
        """The entry for the API, which refuses a zone for an instance."""
        return {
            "Id": self.id,
            **({"Port": self.port} if self.port else {}),
            **({"AvailabilityZone": self.zone} if self.zone and not self.id.startswith("i-") else {}),
        }

    @property
    def gone(self) -> bool:
        return self.reason == NOT_REGISTERED

    @property
    def registered(self) -> bool:
        return not self.gone and not self.state.endswith("draining")

    @property
    def standing(self) -> str:
        """The state; an entry of a group that no load balancer uses is "unused" to AWS, but it is registered."""
        if self.gone:
            return "unused"
        return "registered, unused" if self.state == "unused" else self.state

    @property
    def why(self) -> str:
        return ": ".join(part for part in (self.reason, self.description.rstrip(".")) if part)


class TargetGroupsApi:
    """The needed calls of a boto3 elbv2 client, with errors that name the remedy."""

    def __init__(self, client: Any) -> None:
        self._aws = AwsApi(client)

    def group(self, name: str) -> TargetGroup:
        """The group of this name or ARN."""
        selected = {"TargetGroupArns": [name]} if name.startswith("arn:") else {"Names": [name]}
        found = self._call("DescribeTargetGroups", name, **selected)["TargetGroups"]
        if not found:
            raise OperationError(self._missing(name))
        group = found[0]
        said = self._call("DescribeTargetGroupAttributes", name, TargetGroupArn=group["TargetGroupArn"])
        attributes = {item["Key"]: item["Value"] for item in said["Attributes"]}
        return TargetGroup(
            name=group["TargetGroupName"],
            arn=group["TargetGroupArn"],
            kind=group.get("TargetType", "instance"),
            port=group.get("Port"),
            deregistration_delay=float(attributes.get("deregistration_delay.timeout_seconds", 300)),
            time_to_healthy=float(group.get("HealthCheckIntervalSeconds", 30) * group.get("HealthyThresholdCount", 5)),
            protocol=group.get("Protocol", ""),
        )

    def health(self, group: TargetGroup, entries: Sequence[Health] = ()) -> list[Health]:
        """Of these entries, or of all that the group has."""
        keys = {"Targets": [entry.key for entry in entries]} if entries else {}
        try:
            said = self._call("DescribeTargetHealth", group.name, TargetGroupArn=group.arn, **keys)
        except _NoSuchTargetError:
            return [Health(entry.id, entry.port, entry.zone, "unused", NOT_REGISTERED) for entry in entries]
        return [
            Health(
                id=item["Target"]["Id"],
                port=item["Target"].get("Port"),
                zone=item["Target"].get("AvailabilityZone"),
                state=item["TargetHealth"]["State"],
                reason=item["TargetHealth"].get("Reason", ""),
                description=item["TargetHealth"].get("Description", ""),
            )
            for item in said["TargetHealthDescriptions"]
        ]

    def register(self, group: TargetGroup, entries: Iterable[Health]) -> None:
        keys = [entry.key for entry in entries]
        self._call("RegisterTargets", group.name, TargetGroupArn=group.arn, Targets=keys)

    def deregister(self, group: TargetGroup, entries: Iterable[Health]) -> None:
        keys = [entry.key for entry in entries]
        self._call("DeregisterTargets", group.name, TargetGroupArn=group.arn, Targets=keys)

    def remembered(self, groups: Sequence[TargetGroup], identifier: str) -> dict[str, list[Health]]:
        """By the groups' ARNs, the entries that the target had when it was taken out."""
        found: dict[str, list[Health]] = {}
        for start in range(0, len(groups), MOST_TAGGED):
            some = groups[start : start + MOST_TAGGED]
            names = ", ".join(group.name for group in some)
            said = self._call("DescribeTags", names, ResourceArns=[group.arn for group in some])
            for described in said["TagDescriptions"]:
                tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
                found[described["ResourceArn"]] = _entries(identifier, tags.get(TAG + identifier, ""))
        return found

    def remember(self, group: TargetGroup, identifier: str, entries: Iterable[Health]) -> None:
        tag = {"Key": TAG + identifier, "Value": " ".join(_noted(entry) for entry in entries)}
        self._call("AddTags", group.name, ResourceArns=[group.arn], Tags=[tag])

    def forget(self, group: TargetGroup, identifier: str) -> None:
        self._call("RemoveTags", group.name, ResourceArns=[group.arn], TagKeys=[TAG + identifier])

    def _call(self, operation: str, group: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._aws.call(operation, f"the target group {group}", **arguments)
        except RefusedError as error:
            if error.code in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
                raise OperationError(self._missing(group)) from error
            if error.code in ("InvalidTarget", "InvalidTargetException"):
                if operation == "DescribeTargetHealth":
                    raise _NoSuchTargetError(error.said) from error
                raise OperationError(f"AWS refuses the target in the target group {group}: {error.said}") from error
            raise

    def _missing(self, group: str) -> str:
        where = self._aws.region
        return f"There is no target group {group} in {where}: check its name or ARN, the region and the account."


class _NoSuchTargetError(OperationError):
    """AWS does not know the target, such as a terminated instance."""


def _noted(entry: Health) -> str:
    """For the tag's value: port, or port@zone."""
    return f"{entry.port or ''}{f'@{entry.zone}' if entry.zone else ''}"


def _entries(identifier: str, noted: str) -> list[Health]:
    entries = []
    for word in noted.split():
        port, _dummy, zone = word.partition("@")
        entries.append(
            Health(identifier, int(port) if port.isdecimal() else None, zone or None, "unused", NOT_REGISTERED)
        )
    return entries


@dataclass
class Registration:
    """The target's entries in one group, those that it had before it was taken out, and how many others are healthy."""

    group: TargetGroup
    entries: list[Health]
    places: list[Place]
    healthy_others: int
    remembered: list[Health]

    @property
    def missing(self) -> list[Health]:
        """The recorded entries that the group does not list."""
        listed = {entry.port for entry in self.entries}
        return [entry for entry in self.remembered if entry.port not in listed]

    @property
    def as_the_group_has_it(self) -> bool:
        """Whether registering it without port and zone would have the same result."""
        zone = self.entries[0].key.get("AvailabilityZone")
        return len(self.entries) == 1 and self.entries[0].port in (None, self.group.port) and zone != "all"


def drain(
    api: TargetGroupsApi,
    names: Sequence[str],
    target: Target,
    report: TargetReport,
    *,
    min_healthy: int,
    timeout: float | None,
    check_mode: bool = False,
) -> None:
    """Deregister the target from the groups and wait until each has completed that.

    Refused, before any change, if fewer than min_healthy others would be healthy in a group.
    """
    registrations = _registrations(api, names, target, report)
    leaving = [
        registration for registration in registrations if any(entry.registered for entry in registration.entries)
    ]
    for registration in leaving:
        if registration.healthy_others < min_healthy:
            raise OperationError(
                f"{target.id} was not deregistered from {registration.group.name}: "
                f"{_others(registration.healthy_others)} healthy there, and min_healthy is {min_healthy}."
            )
    report.changed, report.expected = bool(leaving), "unused" if check_mode else ""
    longest = max(registration.group.deregistration_delay for registration in registrations)
    report.timeout = timeout if timeout is not None else longest + DRAIN_MARGIN
    if report.timeout < longest:
        report.warnings.append(
            f"The timeout of {report.timeout:g} s is shorter than the deregistration delay of {longest:g} s."
        )
    if check_mode:
        return
    for registration in leaving:
        if registration.remembered or not registration.as_the_group_has_it:
            others = [entry for entry in registration.missing if target.port not in (None, entry.port)]
            api.remember(registration.group, target.id, [*registration.entries, *others])
    left: list[Registration] = []
    for registration in leaving:
        try:
            api.deregister(registration.group, [entry for entry in registration.entries if entry.registered])
        except OperationError as error:
            raise OperationError(f"{error}{_put_back(api, left, report)}") from error
        left.append(registration)

    draining: set[tuple[str, str]] = set()

    def gone() -> bool:
        for registration in registrations:
            for _place, entry in _look_again(api, registration, report):
                entry_here = (registration.group.arn, entry.name)
                if entry.state.endswith("draining"):
                    draining.add(entry_here)
                elif entry.registered and entry_here in draining:
                    raise OperationError(
                        f"{entry.name} was registered in {registration.group.name} again by another process."
                    )
        return all(place.state == "unused" for place in report.places)

    if not report.wait(gone, LONGEST_PAUSE):
        raise OperationError(_overdue(report, "deregistered"))


def admit(
    api: TargetGroupsApi,
    names: Sequence[str],
    target: Target,
    report: TargetReport,
    *,
    timeout: float | None,
    zone: str | None = None,
    check_mode: bool = False,
) -> None:
    """Register the target where it is missing or still draining, and wait until it is healthy in each group.

    It gets the ports and zones that it had before it was taken out.
    """
    registrations = _registrations(api, names, target, report)
    for registration in registrations:
        _expect_the_remembered(registration, target, report)
    coming = [
        registration
        for registration in registrations
        if not registration.entries or any(not entry.registered for entry in registration.entries)
    ]
    for registration in coming:
        if not registration.entries:
            registration.entries = [
                Health(target.id, target.port or registration.group.port, zone, "unused", NOT_REGISTERED)
            ]
            registration.places[0].target = registration.entries[0].name
    report.changed, report.expected = bool(coming), "healthy" if check_mode else ""
    report.timeout = (
        timeout if timeout is not None else max(s.group.time_to_healthy for s in registrations) + HEALTH_MARGIN
    )
    if check_mode:
        return
    for registration in coming:
        api.register(registration.group, [entry for entry in registration.entries if not entry.registered])

    def healthy() -> bool:
        for registration in registrations:
            lost = []
            for place, entry in _look_again(api, registration, report):
                if entry.reason in HOPELESS:
                    raise OperationError(f"{place.words}: {HOPELESS[entry.reason]}.")
                if entry.gone:
                    lost.append(entry)
            if lost:  # It was draining, and its deregistration completed after this registration.
                api.register(registration.group, lost)
        return all(place.state == "healthy" for place in report.places)

    if not report.wait(healthy, LONGEST_PAUSE):
        raise OperationError(_overdue(report, "healthy"))
    for registration in registrations:
        if registration.remembered:
            _forget(api, registration, target, report)


def find(api: TargetGroupsApi, names: Sequence[str], target: Target, report: TargetReport) -> None:
    """Fill the report's places with the state of the target, also on ports that it had before it was taken out."""
    for registration in _registrations(api, names, target, report):
        _expect_the_remembered(registration, target, report)


def _expect_the_remembered(registration: Registration, target: Target, report: TargetReport) -> None:
    missing = [entry for entry in registration.missing if target.port in (None, entry.port)]
    if not missing:
        return
    places = [Place(registration.group.name, entry.name, "unused", "unused", NOT_REGISTERED) for entry in missing]
    if not registration.entries:  # The placeholder for it.
        report.places.remove(registration.places.pop())
    registration.entries += missing
    registration.places += places
    report.places += places


def _forget(api: TargetGroupsApi, registration: Registration, target: Target, report: TargetReport) -> None:
    others = [entry for entry in registration.missing if target.port not in (None, entry.port)]
    try:
        if others:
            api.remember(registration.group, target.id, others)
        else:
            api.forget(registration.group, target.id)
    except OperationError as error:
        report.warnings.append(
            f"The tag {TAG}{target.id} of {registration.group.name} could not be removed, which is harmless: {error}"
        )


def _registrations(
    api: TargetGroupsApi, names: Sequence[str], target: Target, report: TargetReport
) -> list[Registration]:
    registrations = []
    groups: dict[str, TargetGroup] = {}
    for name in names:
        group = api.group(name)
        groups.setdefault(group.arn, group)
    remembered = api.remembered(list(groups.values()), target.id)
    for group in groups.values():
        if group.kind in ("instance", "ip") and group.kind != target.kind:
            raise OperationError(
                f"The target group {group.name} has the target type {group.kind}, and {target.id} is not one."
            )
        listed = [entry for entry in api.health(group) if not entry.gone]
        entries = [entry for entry in listed if entry.id == target.id and target.port in (None, entry.port)]
        places = [Place(group.name, entry.name, entry.standing, entry.standing, entry.why) for entry in entries]
        if not entries:
            name = Health(target.id, target.port, None, "").name
            places = [Place(group.name, name, "unused", "unused", NOT_REGISTERED)]
        report.places += places
        healthy = {entry.id for entry in listed if entry.id != target.id and entry.state == "healthy"}
        registrations.append(Registration(group, entries, places, len(healthy), remembered.get(group.arn, [])))
    return registrations


def _look_again(api: TargetGroupsApi, registration: Registration, report: TargetReport) -> list[tuple[Place, Health]]:
    if not registration.entries:
        return []
    said = {(entry.id, entry.port): entry for entry in api.health(registration.group, registration.entries)}
    standing = []
    for place, asked in zip(registration.places, registration.entries):
        entry = said.get((asked.id, asked.port), Health(asked.id, asked.port, asked.zone, "unused", NOT_REGISTERED))
        report.update(place, entry.standing, entry.why)
        standing.append((place, entry))
    return standing


def _put_back(api: TargetGroupsApi, left: Sequence[Registration], report: TargetReport) -> str:
    """Register the target again after a partial failure; returns the outcome as text."""
    words = ""
    for registration in left:
        try:
            api.register(registration.group, [entry for entry in registration.entries if entry.registered])
            words += f" It was registered in {registration.group.name} again."
        except OperationError as error:
            words += f" It could not be registered in {registration.group.name} again: {error}"
    report.changed = bool(left)
    return words


def _others(count: int) -> str:
    return {0: "no other target is", 1: "1 other target is"}.get(count, f"{count} other targets are")


def _overdue(report: TargetReport, wanted: str) -> str:
    late = [place.words for place in report.places if place.state != ("unused" if wanted == "deregistered" else wanted)]
    return f"Not {wanted} within {report.timeout:g} s: {'; '.join(late)}."
