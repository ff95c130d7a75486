# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about instance refreshes, with rare responses of AWS."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.api import Api, RefusedError
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.groups import Group, Instance, Template
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.refreshes import (
    Refresh,
    Refreshes,
    RefreshReport,
    Wish,
    decide,
    preferences,
    to_replace,
)
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import NoAnswerError, OperationError

ONE, TWO = (Template("lt-1", "gateways", version) for version in "12")
OPTIONS: dict[str, Any] = {
    "skip_matching": True,
    "min_healthy_percentage": None,
    "max_healthy_percentage": None,
    "instance_warmup": None,
    "checkpoints": [],
    "checkpoint_delay": None,
    "bake_time": None,
    "alarms": [],
    "auto_rollback": False,
    "scale_in_protected": None,
    "standby": None,
    "launch_template": {"id": "lt-1"},
}


def instance(name: str, template: Template | None = ONE, state: str = "InService", protected: bool = False) -> Instance:
    return Instance(name, state, "Healthy", protected, template)


def group(*instances: Instance, template: Template | None = ONE) -> Group:
    return Group("web", template, None, instances)


def wish(template: Template | None = TWO, target: Template | None = TWO, **more: Any) -> Wish:
    return Wish(template, target, preferences({**OPTIONS, **more}))


def told(status: str = "InProgress", **more: Any) -> dict[str, Any]:
    wanted = {"LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "2"}}
    return {"InstanceRefreshId": "r-1", "Status": status, "DesiredConfiguration": wanted, **more}


def running(status: str = "InProgress", **more: Any) -> Refresh:
    return Refresh.of(told(status, **more))


def test_only_what_is_surely_the_same_matches() -> None:
    assert TWO.same(Template("lt-1", "", "2")) and TWO.same(Template("", "gateways", "2"))
    for other in (None, ONE, Template("lt-2", "gateways", "2"), Template("", "", "2"), Template("lt-1", "", "$Latest")):
        assert not TWO.same(other)
    latest = Template("lt-1", "gateways", "$Latest")
    assert not latest.same(latest)
    assert Template.of({"LaunchTemplateId": "lt-1"}) == Template("lt-1", "", "$Default")


def test_whom_a_refresh_replaces() -> None:
    members = group(
        instance("old"),
        instance("new", TWO),
        instance("by-hand", None),
        instance("protected", protected=True),
        instance("resting", state="Standby"),
        instance("going-to-rest", state="EnteringStandby"),
    )
    others = ["protected", "resting", "going-to-rest"]
    assert to_replace(members, wish()) == ["old", "by-hand", *others]
    assert to_replace(members, wish(scale_in_protected="ignore")) == ["old", "by-hand", "resting", "going-to-rest"]
    assert to_replace(members, wish(standby="ignore")) == ["old", "by-hand", "protected"]
    assert to_replace(members, wish(skip_matching=False)) == ["old", "new", "by-hand", *others]
    without_template = wish(None, None)
    assert len(to_replace(members, without_template)) == 6


@pytest.mark.parametrize(
    ("members", "wanted", "active", "decision"),
    [
        (group(instance("a")), wish(), None, "start"),
        (group(instance("a", TWO), template=TWO), wish(), None, "nothing"),
        (group(instance("a", TWO), template=TWO), wish(skip_matching=False), None, "start"),
        # The group launches old ones still.
        (group(instance("a", TWO)), wish(), None, "start"),
        (group(), wish(), None, "start"),
        (group(instance("a", TWO)), wish(None, TWO), None, "nothing"),
        (group(instance("a")), wish(), running(), "join"),
        (group(instance("a")), wish(), running("Pending"), "join"),
        (group(instance("a", TWO), template=TWO), wish(), running("Baking"), "join"),
        (group(instance("a")), wish(None, TWO), running(DesiredConfiguration={}), "join"),
    ],
)
def test_what_to_do(members: Group, wanted: Wish, active: Refresh | None, decision: str) -> None:
    assert decide(members, wanted, active) == decision


@pytest.mark.parametrize(
    ("wanted", "active", "words"),
    [
        (wish(ONE, ONE), running(), "another instance refresh of web is running, r-1 .to lt-1, version 2."),
        (wish(None, TWO), running(), "another instance refresh of web is running"),
        (wish(), running(DesiredConfiguration={}), "another .* r-1 .of the group's own configuration"),
        (wish(), running("Cancelling"), "the instance refresh of web is being ended"),
        (
            wish(),
            running("RollbackInProgress", PercentageComplete=40, InstancesToUpdate=3),
            "40 % complete, 3 to update",
        ),
    ],
)
def test_what_is_in_the_way(wanted: Wish, active: Refresh, words: str) -> None:
    with pytest.raises(OperationError, match=f"Nothing was changed: .*{words}"):
        decide(group(instance("a")), wanted, active)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"min_healthy_percentage": 101}, "min_healthy_percentage is 101, and has to be at least 0 and at most 100"),
        ({"max_healthy_percentage": 120}, "max_healthy_percentage needs min_healthy_percentage"),
        ({"max_healthy_percentage": 200, "min_healthy_percentage": 90}, "more than 100 apart"),
        ({"instance_warmup": -1}, "instance_warmup is -1, and has to be at least 0"),
        ({"checkpoints": [50, 20]}, "ascend"),
        ({"checkpoints": [50, 50]}, "ascend"),
        ({"checkpoints": [0, 100]}, "ascend"),
        ({"checkpoint_delay": 60}, "checkpoint_delay needs checkpoints"),
        ({"bake_time": 172801}, "at most 172800"),
        ({"alarms": [str(number) for number in range(11)]}, "11 alarms are more than 10"),
        ({"auto_rollback": True, "launch_template": None}, "auto_rollback needs launch_template"),
    ],
)
def test_what_aws_would_refuse(option: dict[str, Any], words: str) -> None:
    with pytest.raises(OperationError, match=words):
        preferences({**OPTIONS, **option})


def test_what_is_not_asked_for_is_left_to_aws() -> None:
    assert preferences(OPTIONS) == {"SkipMatching": True}


def test_a_policy_goes_back_as_the_api_wants_it() -> None:
    both = {"LaunchTemplateId": "lt-9", "LaunchTemplateName": "arm", "Version": "1"}
    policy = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {**both, "LaunchTemplateId": "lt-1"},
            "Overrides": [{"InstanceType": "t4g.small", "LaunchTemplateSpecification": both}],
        },
        "InstancesDistribution": {"OnDemandBaseCapacity": 1},
    }
    mixed = Group("web", ONE, policy, ())
    assert wish().configuration(mixed)["DesiredConfiguration"]["MixedInstancesPolicy"] == {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "Version": "2"},
            "Overrides": [
                {
                    "InstanceType": "t4g.small",
                    "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-9", "Version": "1"},
                }
            ],
        },
        "InstancesDistribution": {"OnDemandBaseCapacity": 1},
    }
    assert wish(None, TWO).configuration(mixed) == {}


class ApiDouble(Api):
    """Answers from a list, one after the other; the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append(operation)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


NONE: dict[str, Any] = {"InstanceRefreshes": []}
IN_PROGRESS = RefusedError("StartInstanceRefresh failed", "InstanceRefreshInProgress", "")


def described(*arguments: Any, **more: Any) -> dict[str, Any]:
    return {"InstanceRefreshes": [told(*arguments, **more)]}


def test_an_answer_to_the_start_that_was_lost() -> None:
    api = ApiDouble(NONE, IN_PROGRESS, described("Pending"))
    report = RefreshReport()
    Refreshes(api, "web").start(group(instance("a")), wish(), report)
    assert (report.changed, report.joined) == (True, True)
    assert api.asked == ["DescribeInstanceRefreshes", "StartInstanceRefresh", "DescribeInstanceRefreshes"]


def test_somebody_else_was_faster() -> None:
    api = ApiDouble(NONE, IN_PROGRESS, described(DesiredConfiguration={}))
    report = RefreshReport()
    with pytest.raises(OperationError, match="another instance refresh of web is running"):
        Refreshes(api, "web").start(group(instance("a")), wish(), report)
    assert not report.changed


def test_it_ended_before_it_could_be_cancelled() -> None:
    gone = RefusedError("CancelInstanceRefresh failed", "ActiveInstanceRefreshNotFound", "")
    report = RefreshReport()
    Refreshes(ApiDouble(described(), gone), "web").cancel(report)
    assert not report.changed


def clock() -> tuple[RefreshReport, list[float]]:
    time = [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    return RefreshReport(now=lambda: time[0], sleep=sleep, timeout=1000), time


def test_questions_without_an_answer_are_asked_again() -> None:
    report, time = clock()
    put_off = NoAnswerError("AWS did not serve DescribeInstanceRefreshes: Throttling")
    report.refresh = running()
    refreshes = Refreshes(ApiDouble(described(), put_off, put_off, described("Successful")), "web")
    assert refreshes.wait(report, wanted=["Successful"])
    assert [line.partition(" s: ")[2] for line in report.progress] == [
        "InProgress, 0 % complete, 0 to update",
        str(put_off),
        "Successful, 0 % complete, 0 to update",
    ]
    assert 0 < time[0] < 5


def test_waiting_asks_seldom_and_ends() -> None:
    report, time = clock()
    api = ApiDouble(described(PercentageComplete=20, StatusReason="i-1 is protected from scale-in."))
    report.refresh = running()
    assert not Refreshes(api, "web").wait(report, wanted=["Successful"])
    assert time[0] == 1000
    assert len(api.asked) < 120
    assert report.progress == ["0.0 s: InProgress, 20 % complete, 0 to update (i-1 is protected from scale-in)"]
    assert Refreshes(api, "web").wait(report, wanted=["Successful"], percentage=20)


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed"])
def test_an_end_that_was_not_wanted(status: str) -> None:
    report = clock()[0]
    report.refresh = running()
    ended = described(status, StatusReason="It broke.", RollbackDetails={"RollbackReason": "Alarm went off."})
    with pytest.raises(OperationError, match=rf"{status}, .*\(Alarm went off; It broke\)\.$"):
        Refreshes(ApiDouble(ended), "web").wait(report, wanted=["Successful"])
