# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ecs_cluster against the ECS of the endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.aws.ecs_stage import CLUSTER, Stage, stage
from tests.integration.aws.stage import call

WANTED = {"name": "fresh", "container_insights": "enabled", "tags": {"team": "identity"}}


@pytest.fixture(scope="module")
def ecs() -> Iterator[Stage]:
    with stage() as served:
        yield served


def described(ecs: Stage, name: str = "fresh") -> dict[str, Any]:
    found: dict[str, Any] = ecs.ecs.describe_clusters(clusters=[name], include=["SETTINGS", "TAGS"])["clusters"][0]
    return found


def test_created_kept_changed_and_deleted(ecs: Stage) -> None:
    def run(*, check: bool = False, **changes: Any) -> dict[str, Any]:
        wanted = {key: value for key, value in {**WANTED, **changes}.items() if value is not None}
        told = call(ecs.endpoint, "ecs_cluster", wanted, check=check)
        assert not told["failed"], told
        return told

    ecs.fake.writes.clear()
    would = run(check=True)
    assert (would["changed"], would["cluster_arn"], ecs.writes) == (True, "", [])
    made = run()
    assert (made["changed"], made["diff"], ecs.writes) == (True, would["diff"], ["CreateCluster"])
    assert made["cluster_arn"] == described(ecs)["clusterArn"]
    assert described(ecs)["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    ecs.fake.writes.clear()
    assert not run()["changed"]
    # What is not declared stays.
    assert not run(container_insights=None, tags=None)["changed"]
    assert ecs.writes == []

    ecs.ecs.tag_resource(resourceArn=made["cluster_arn"], tags=[{"key": "owner", "value": "others"}])
    other: dict[str, Any] = {"container_insights": "enhanced", "tags": {"stage": "production"}}
    would, changed = run(check=True, **other), run(**other)
    assert would["diff"] == changed["diff"] and changed["changed"]
    assert described(ecs)["settings"][0]["value"] == "enhanced"
    tags = {one["key"]: one["value"] for one in described(ecs)["tags"]}
    assert (tags.pop("owner"), tags.pop("stage"), list(tags)) == ("others", "production", ["evenkeel:tags"])

    assert run(state="absent", check=True)["changed"] and run(state="absent")["changed"]
    assert not run(state="absent")["changed"]


def test_a_cluster_in_use_is_not_deleted(ecs: Stage) -> None:
    ecs.serving(count=1)
    for check in (True, False):
        told = call(ecs.endpoint, "ecs_cluster", {"name": CLUSTER, "state": "absent"}, check=check)
        assert told["msg"].startswith(f"Nothing was changed: the cluster {CLUSTER} has 1 services, 1 running tasks.")
    assert ecs.ecs.describe_clusters(clusters=[CLUSTER])["clusters"][0]["status"] == "ACTIVE"
