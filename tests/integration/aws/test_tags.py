# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags that are no longer declared are removed; tags of others stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws.asg import Scaled, scaled
from tests.integration.aws.stage import call, network, play, surroundings
from tests.integration.endpoint import Endpoint

RECORD = "evenkeel:tags"
OURS = {"team": "web", "cost centre": "42", "stage": "test"}
Tags = dict[str, str]


@pytest.fixture(scope="module")
def account() -> Iterator[Scaled]:
    endpoint, refreshes = scaled()
    with endpoint:
        yield Scaled(endpoint, refreshes)


@pytest.fixture
def endpoint(account: Scaled) -> Endpoint:
    return account.endpoint.at_its_best()


def as_dict(pairs: Sequence[Mapping[str, Any]]) -> Tags:
    return {pair["Key"]: pair["Value"] for pair in pairs}


def group_tags(account: Scaled, name: str) -> Tags:
    said = account.autoscaling.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [name]}])["Tags"]
    return as_dict(said)


def assert_purged(
    manage: Callable[..., dict[str, Any]], tags: Callable[[], Tags], set_by_another: Callable[[Tags], object]
) -> None:
    """`manage` runs our module with the tags given."""
    assert manage(OURS)["changed"]
    made = tags()
    assert {key: made[key] for key in OURS} == OURS and set(made) == {*OURS, RECORD}
    assert not manage(OURS)["changed"]
    set_by_another({"backup": "daily", "stage": "changed by somebody"})

    would, changed = manage({"team": "web"}, check=True), manage({"team": "web"})
    assert would["changed"] and changed["changed"]
    assert would["diff"] == changed["diff"]
    assert changed["diff"]["before"]["tags"]["cost centre"] == "42"
    assert set(changed["diff"]["after"]["tags"]) == {"team", RECORD}
    left = tags()
    assert {key: left[key] for key in left if key != RECORD} == {
        "team": "web",
        "backup": "daily",
        "stage": "changed by somebody",
    }
    assert not manage({"team": "web"})["changed"]
    assert not manage(None)["changed"], "without the option tags are left alone"
    assert tags() == left
    assert manage({})["changed"]
    assert tags() == {"backup": "daily", "stage": "changed by somebody"}
    assert not manage({})["changed"]


def test_of_a_scaling_group(account: Scaled, endpoint: Endpoint) -> None:
    group = account.group(0)

    def manage(tags: Tags | None, check: bool = False) -> dict[str, Any]:
        wanted = {"name": group.name, **({} if tags is None else {"tags": tags})}
        return call(endpoint, "scaling_group", wanted, check=check)

    def set_by_another(tags: Tags) -> None:
        of = {"ResourceId": group.name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
        account.autoscaling.create_or_update_tags(Tags=[{**of, "Key": key, "Value": tags[key]} for key in tags])

    manage({**OURS, "more": "x"})
    propagated = {tag["Key"] for tag in group.described["Tags"] if tag["PropagateAtLaunch"]}
    assert propagated == {*OURS, "more"}, "instances get the tags and not what is noted about them"
    manage({})
    assert_purged(manage, lambda: group_tags(account, group.name), set_by_another)
    # What can't be removed is tried again by the next run.
    manage(OURS)
    endpoint.faults.denied["autoscaling:DeleteTags"] = group.name
    assert "needs autoscaling:DeleteTags on the Auto Scaling group" in manage({"team": "web"})["msg"]
    endpoint.faults.forget()
    assert manage({"team": "web"})["changed"]
    assert set(group_tags(account, group.name)) == {"team", "backup", "stage", RECORD} - {"stage"}


def test_of_a_target_group(endpoint: Endpoint) -> None:
    place = network(endpoint)

    def manage(tags: Tags | None, check: bool = False) -> dict[str, Any]:
        wanted = {"name": "tagged", "vpc_id": place["vpc_id"], **({} if tags is None else {"tags": tags})}
        return call(endpoint, "target_group", wanted, check=check)

    manage(None)
    elb = endpoint.client()
    assert_purged(
        manage, *of_elb(elb, elb.describe_target_groups(Names=["tagged"])["TargetGroups"][0]["TargetGroupArn"])
    )


def test_of_a_load_balancer(endpoint: Endpoint) -> None:
    place = network(endpoint)
    there = {key: place[key] for key in ("subnets", "security_groups")}
    there.update(name="tagged", target_group_arn=endpoint.group()[1])

    def manage(tags: Tags | None, check: bool = False) -> dict[str, Any]:
        return call(endpoint, "load_balancer", {**there, **({} if tags is None else {"tags": tags})}, check=check)

    assert_purged(manage, *of_elb(endpoint.client(), manage(None)["load_balancer_arn"]))


def of_elb(elb: Any, arn: str) -> tuple[Callable[[], Tags], Callable[[Tags], object]]:
    def tags() -> Tags:
        return as_dict(elb.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"])

    def set_by_another(more: Tags) -> None:
        elb.add_tags(ResourceArns=[arn], Tags=[{"Key": key, "Value": more[key]} for key in more])

    return tags, set_by_another


def test_of_role_profile_and_topic(endpoint: Endpoint, tmp_path: Path) -> None:
    """By the roles, whose modules of other collections would take tags of others away, too."""
    chosen = surroundings(endpoint, "marked", tmp_path)
    chosen.update(iam_operators="", load_balancer_state="absent", alarms_dashboard=False)
    iam, sns = endpoint.client("iam"), endpoint.client("sns")
    by_others = [{"Key": "backup", "Value": "daily"}, {"Key": "stage", "Value": "changed by somebody"}]

    def run(tags: Tags, *options: str) -> list[str]:
        played = play(
            endpoint, {**chosen, "iam_tags": tags, "alarms_tags": tags}, "--skip-tags", "load_balancer", *options
        )
        assert (played.code, played.failures) == (0, ""), played.text
        return played.changed

    def found() -> list[Tags]:
        (topic,) = [each["TopicArn"] for each in sns.list_topics()["Topics"] if "marked" in each["TopicArn"]]
        return [
            as_dict(iam.list_role_tags(RoleName="marked")["Tags"]),
            as_dict(iam.get_instance_profile(InstanceProfileName="marked")["InstanceProfile"]["Tags"]),
            as_dict(sns.list_tags_for_resource(ResourceArn=topic)["Tags"]),
        ]

    run(OURS)
    for tags in found():
        assert {key: tags[key] for key in OURS} == OURS and set(tags) == {*OURS, RECORD}
    iam.tag_role(RoleName="marked", Tags=by_others)
    iam.tag_instance_profile(InstanceProfileName="marked", Tags=by_others)
    (topic,) = [each["TopicArn"] for each in sns.list_topics()["Topics"] if "marked" in each["TopicArn"]]
    sns.tag_resource(ResourceArn=topic, Tags=by_others)

    would, changed = run({"team": "web"}, "--check"), run({"team": "web"})
    assert would == changed and len(changed) >= 2, changed
    for tags in found():
        assert {key: tags[key] for key in tags if key != RECORD} == {"team": "web", **as_dict(by_others)}
    assert run({"team": "web"}) == []
    run({})
    assert found() == [as_dict(by_others)] * 3


def test_the_module_names_what_it_removes(endpoint: Endpoint) -> None:
    nothing = call(endpoint, "purge_tags", {"role": "nobody", "topic": "nothing", "instance_profile": "none"})
    assert (nothing["changed"], nothing["diff"]["before"]) == (False, {})
    trust = {"Version": "2012-10-17", "Statement": []}
    endpoint.client("iam").create_role(RoleName="nobody", AssumeRolePolicyDocument=json.dumps(trust))
    denied = call(endpoint, "purge_tags", {"role": "nobody"}, access_key="AKIADENIED")
    assert "needs iam:ListRoleTags on the role nobody" in denied["msg"]
    endpoint.client("iam").delete_role(RoleName="nobody")
