# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._kubernetes.deployment import (
    Annotations,
    chosen_template,
    current_template,
    deployment_of,
    good_template,
    templates_of,
)

NOTES = Annotations("evenkeel.fleet")
DEPLOYMENT: dict[str, Any] = {
    "metadata": {
        "name": "gateway",
        "uid": "u-1",
        "generation": 7,
        "annotations": {"deployment.kubernetes.io/revision": "3"},
    },
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "gateway", "color": "blue"}},
        "template": {"spec": {"containers": [{"name": "gateway", "image": "i:3"}]}},
    },
    "status": {
        "observedGeneration": 7,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    },
}


def changed(**status: Any) -> dict[str, Any]:
    found = copy.deepcopy(DEPLOYMENT)
    found["status"].update(status)
    return found


def replica_set(revision: int, *, available: int = 0, owner: str = "u-1") -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "gateway", "pod-template-hash": f"h{revision}"}},
        "spec": {"containers": [{"name": "gateway", "image": f"i:{revision}"}]},
    }
    return {
        "metadata": {
            "name": f"gateway-h{revision}",
            "labels": {"pod-template-hash": f"h{revision}"},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"uid": owner}],
        },
        "spec": {"replicas": available, "template": template},
        "status": {"availableReplicas": available, "readyReplicas": available},
    }


@pytest.mark.parametrize(
    ("found", "complete", "words"),
    [
        (changed(), True, "3 of 3 pods updated, 3 available"),
        # The status is of the generation before, in which all was well.
        (changed(observedGeneration=6), False, "the controller has not seen the change yet"),
        (changed(updatedReplicas=1, replicas=4), False, "1 of 3 pods updated, 3 available, 3 old ones are left"),
        (changed(replicas=4), False, "3 of 3 pods updated, 3 available, 1 old one is left"),
        (changed(availableReplicas=2), False, "3 of 3 pods updated, 2 available"),
        ({**changed(), "status": {}}, False, "the controller has not seen the change yet"),
    ],
)
def test_a_rollout_is_complete_when_only_new_pods_are_left_and_available(
    found: dict[str, Any], complete: bool, words: str
) -> None:
    deployment = deployment_of(found, "")
    assert (deployment.complete, deployment.words) == (complete, words)


def test_conditions_of_an_earlier_generation_do_not_count() -> None:
    conditions = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"},
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
    ]
    now = deployment_of(changed(conditions=conditions), "")
    assert (now.deadline_exceeded, now.replica_failure) == ("timed out", "exceeded quota")
    before = deployment_of(changed(conditions=conditions, observedGeneration=6), "")
    assert (before.deadline_exceeded, before.replica_failure) == ("", "")


def test_the_container_is_found_or_has_to_be_named() -> None:
    several = copy.deepcopy(DEPLOYMENT)
    containers = several["spec"]["template"]["spec"]["containers"]
    containers.insert(0, {"name": "proxy", "image": "p:1"})
    assert deployment_of(DEPLOYMENT, "").container == "gateway"
    assert (deployment_of(several, "").container, deployment_of(several, "").index) == ("gateway", 1)
    containers[1]["name"] = "web"
    with pytest.raises(OperationError, match=r"several containers: proxy, web. Set container"):
        deployment_of(several, "")
    with pytest.raises(OperationError, match="no container gateway, but proxy, web"):
        deployment_of(several, "gateway")


def test_the_selector_is_as_the_api_takes_it() -> None:
    found = copy.deepcopy(DEPLOYMENT)
    found["spec"]["selector"]["matchExpressions"] = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    assert deployment_of(found, "").selector == "app=gateway,color=blue,tier in (a,b),!old"


def test_templates_are_its_own_and_without_the_hash() -> None:
    deployment = deployment_of(DEPLOYMENT, "")
    templates = templates_of(deployment, [replica_set(1), replica_set(3), replica_set(9, owner="u-2")])
    assert [(one.revision, one.image) for one in templates] == [(3, "i:3"), (1, "i:1")]
    assert templates[0].body["metadata"]["labels"] == {"app": "gateway"}
    current = current_template(deployment, templates)
    assert current is not None
    assert current.hash == "h3"


def test_the_way_back_is_what_the_rollout_noted_else_what_serves() -> None:
    def back(noted: str, *sets: dict[str, Any]) -> str:
        found = copy.deepcopy(DEPLOYMENT)
        found["metadata"]["annotations"][NOTES.good] = noted
        deployment = deployment_of(found, "")
        good = good_template(deployment, templates_of(deployment, sets), NOTES)
        return good.hash if good else ""

    now, failed, served = replica_set(3), replica_set(2, available=1), replica_set(1, available=2)
    assert back("h2", now, failed, served) == "h2"
    assert back("", now, failed, served) == "h1"
    # The noted one is the present one, or its ReplicaSet is gone.
    assert back("h3", now, failed, served) == "h1"
    assert back("h0", now, failed, served) == "h1"
    assert back("", now, replica_set(2)) == ""


@pytest.mark.parametrize("wanted", ["2", "h2", "i:2"])
def test_a_template_is_chosen_by_revision_hash_or_image(wanted: str) -> None:
    templates = templates_of(deployment_of(DEPLOYMENT, ""), [replica_set(1), replica_set(2), replica_set(3)])
    chosen = chosen_template(templates, wanted)
    assert chosen is not None
    assert chosen.revision == 2


def test_what_is_noted_is_below_the_prefix() -> None:
    noted = Annotations("example.com").note(time="now", user="ops@desk", rollout_id="7", reason="1.4", good="h1")
    assert noted == {
        "example.com/updated-at": "now",
        "example.com/updated-by": "ops@desk",
        "example.com/rollout-id": "7",
        "example.com/reason": "1.4",
        "example.com/good-template": "h1",
        "kubernetes.io/change-cause": "1.4",
    }
