# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target groups with a simulated clock: long delays, and rare responses of AWS."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer.report import TargetReport
from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer.target import Target
from ansible_collections.evenkeel.fleet.plugins.module_utils._balancer.target_groups import (
    Health,
    TargetGroup,
    TargetGroupsApi,
    admit,
    drain,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import NoAnswerError, OperationError

GROUP = TargetGroup("web", "arn:web", "instance", 80, 300.0, 150.0)
US = Target("i-0123456789abcdef0")
OTHER = Health("i-0123456789abcdef1", 80, None, "healthy")


class ApiDouble(TargetGroupsApi):
    """A group whose target is in a state for so many seconds, then in the next."""

    def __init__(self, *script: tuple[float, str]) -> None:
        self.time = 0.0
        self.script = list(script)
        self.calls: list[str] = []
        self.unanswered: list[tuple[float, float]] = []
        self.asked: list[float] = []

    def group(self, name: str) -> TargetGroup:
        return GROUP

    def health(self, group: TargetGroup, entries: object = ()) -> list[Health]:
        self.asked.append(self.time)
        if any(start <= self.time < end for start, end in self.unanswered):
            raise NoAnswerError("AWS did not serve DescribeTargetHealth: Throttling")
        left = self.time
        for seconds, state in self.script:
            if left < seconds:
                return [OTHER, *([Health(US.id, 80, None, state)] if state != "unused" else [])]
            left -= seconds
        raise AssertionError("the script is over")

    def remembered(self, groups: object, identifier: str) -> dict[str, list[Health]]:
        return {}

    def register(self, group: TargetGroup, entries: object) -> None:
        self.calls.append("register")

    def deregister(self, group: TargetGroup, entries: object) -> None:
        self.calls.append("deregister")

    @property
    def report(self) -> TargetReport:
        return TargetReport(now=lambda: self.time, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


FOREVER = 10**9


def test_longer_than_the_groups_own_delay() -> None:
    api = ApiDouble((0.1, "healthy"), (330, "draining"), (FOREVER, "unused"))
    report = api.report
    drain(api, ["web"], US, report, min_healthy=1, timeout=None)
    assert report.timeout == 360
    assert 330 < api.time < 345
    assert len(api.asked) < 60


def test_not_for_ever() -> None:
    api = ApiDouble((0.1, "healthy"), (FOREVER, "draining"))
    with pytest.raises(
        OperationError, match="Not deregistered within 360 s: i-0123456789abcdef0:80 is draining in web"
    ):
        drain(api, ["web"], US, api.report, min_healthy=1, timeout=None)
    assert api.time == pytest.approx(360)


def test_patience_with_an_api_that_does_not_answer_for_a_while() -> None:
    api = ApiDouble((0.1, "healthy"), (100, "draining"), (FOREVER, "unused"))
    api.unanswered = [(20, 140)]
    report = api.report
    drain(api, ["web"], US, report, min_healthy=1, timeout=None)
    assert 140 <= api.time < 155
    assert sum("did not serve" in line for line in report.progress) == 1


def test_but_no_answer_at_the_end_is_a_no() -> None:
    api = ApiDouble((0.1, "healthy"), (100, "draining"), (FOREVER, "unused"))
    api.unanswered = [(20, FOREVER)]
    with pytest.raises(OperationError, match="did not serve"):
        drain(api, ["web"], US, api.report, min_healthy=1, timeout=None)


def test_no_answer_before_the_start_changes_nothing() -> None:
    api = ApiDouble((FOREVER, "healthy"))
    api.unanswered = [(0, FOREVER)]
    with pytest.raises(OperationError):
        drain(api, ["web"], US, api.report, min_healthy=1, timeout=None)
    with pytest.raises(OperationError):
        admit(api, ["web"], US, api.report, timeout=None)
    assert api.calls == []


def test_somebody_else_registers_it_again() -> None:
    api = ApiDouble((1, "healthy"), (5, "draining"), (FOREVER, "initial"))
    with pytest.raises(OperationError, match="i-0123456789abcdef0:80 was registered in web again by another process"):
        drain(api, ["web"], US, api.report, min_healthy=1, timeout=None)


def test_a_registration_that_the_end_of_draining_swallowed_is_made_again() -> None:
    api = ApiDouble((5, "draining"), (2, "unused"), (20, "initial"), (FOREVER, "healthy"))
    report = api.report
    admit(api, ["web"], US, report, timeout=None)
    assert api.calls.count("register") >= 2
    assert report.timeout == 270


def test_one_group_by_two_names_is_one() -> None:
    api = ApiDouble((0.1, "healthy"), (FOREVER, "unused"))
    report = api.report
    drain(api, ["web", "arn:web"], US, report, min_healthy=1, timeout=None)
    assert (len(report.places), api.calls) == (1, ["deregister"])


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("i-0123456789abcdef0", Target("i-0123456789abcdef0")),
        ("i-0123456789abcdef0:8080", Target("i-0123456789abcdef0", 8080)),
        ("10.0.0.1", Target("10.0.0.1")),
        ("10.0.0.1:80", Target("10.0.0.1", 80)),
        ("[fd00::1]:80", Target("fd00::1", 80)),
        ("fd00::1", Target("fd00::1")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert Target.parse(text) == target


@pytest.mark.parametrize("text", ["", "host-1", "10.0.0", "10.0.0.1:http", "i-xyz", "10.0.0.1:80:80"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(OperationError):
        Target.parse(text)


class OutsideTheVpc(TargetGroupsApi):
    """A group with an address outside its VPC, which AWS takes with the zone `all` only."""

    def __init__(self) -> None:
        self.targets: list[dict[str, Any]] = [{"Id": "192.0.2.9", "Port": 80, "AvailabilityZone": "all"}]
        self.tags: list[dict[str, str]] = []

    def _call(self, operation: str, group: str, **arguments: Any) -> dict[str, Any]:
        if operation == "DescribeTargetGroups":
            return {
                "TargetGroups": [
                    {"TargetGroupName": "web", "TargetGroupArn": "arn:web", "TargetType": "ip", "Port": 80}
                ]
            }
        if operation == "DescribeTargetHealth":
            here = [{"Target": one, "TargetHealth": {"State": "healthy"}} for one in self.targets]
            gone = {"State": "unused", "Reason": "Target.NotRegistered"}
            asked = [one for one in arguments.get("Targets", []) if one not in self.targets]
            return {"TargetHealthDescriptions": [*here, *({"Target": one, "TargetHealth": gone} for one in asked)]}
        if operation == "DescribeTags":
            return {"TagDescriptions": [{"ResourceArn": "arn:web", "Tags": self.tags}]}
        if operation == "RegisterTargets":
            self.targets += arguments["Targets"]
        elif operation == "DeregisterTargets":
            self.targets = [one for one in self.targets if one not in arguments["Targets"]]
        elif operation in ("AddTags", "RemoveTags"):
            self.tags = arguments.get("Tags", [])
        return {"Attributes": []}


def test_a_zone_comes_back() -> None:
    api = OutsideTheVpc()
    before = list(api.targets)
    address = Target("192.0.2.9")
    drain(api, ["web"], address, TargetReport(), min_healthy=0, timeout=None)
    assert api.targets == []
    # Another controller knows only what AWS knows.
    admit(api, ["web"], address, TargetReport(), timeout=None)
    assert api.targets == before
    assert api.tags == []
