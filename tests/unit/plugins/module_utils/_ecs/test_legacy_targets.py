# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.legacy_targets import addresses, container_port


def task(address: str = "10.0.0.1", last: str = "RUNNING", desired: str = "RUNNING") -> dict[str, Any]:
    details = [{"name": "subnetId", "value": "subnet-1"}, {"name": "privateIPv4Address", "value": address}]
    attached = [{"type": "ElasticNetworkInterface", "details": details}] if address else []
    return {"lastStatus": last, "desiredStatus": desired, "attachments": attached}


def test_only_tasks_that_run_and_are_to_run_are_targets() -> None:
    tasks = [
        task("10.0.0.2"),
        task(),
        task("10.0.0.3", last="PENDING"),
        task("10.0.0.4", desired="STOPPED"),
        task("", last="PROVISIONING"),
    ]
    assert addresses(tasks, "users") == ["10.0.0.1", "10.0.0.2"]


def test_a_task_without_an_address_of_its_own_is_refused() -> None:
    with pytest.raises(OperationError, match=r"users have no addresses of their own.*not awsvpc"):
        addresses([task("")], "users")


def described(*ports: int) -> dict[str, Any]:
    return {"serviceName": "users", "loadBalancers": [{"containerPort": port} for port in ports]}


def definition(*ports: int) -> dict[str, Any]:
    mappings = [{"containerPort": port} for port in ports]
    return {"containerDefinitions": [{"portMappings": mappings}, {"name": "beside"}]}


@pytest.mark.parametrize(
    ("balanced", "mapped", "usual", "expected"),
    [
        ([80], [80, 9000], 3002, 80),
        ([], [8080], 3002, 8080),
        ([], [3002, 9000], 3002, 3002),
        ([80, 3002], [80, 3002], 3002, 3002),
    ],
)
def test_the_port_of_the_legacy_containers(balanced: list[int], mapped: list[int], usual: int, expected: int) -> None:
    assert container_port(described(*balanced), definition(*mapped), usual) == expected


@pytest.mark.parametrize(("mapped", "words"), [([80, 81], "have 80, 81"), ([], "have none")])
def test_a_port_that_is_not_known_is_asked_for(mapped: list[int], words: str) -> None:
    with pytest.raises(OperationError, match=rf"{words}\. Set legacy\.port"):
        container_port(described(), definition(*mapped), 3002)
