# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.service import (
    described,
    differences,
    fixed_settings,
    merged,
    only_declared,
    unknown_settings,
)

THERE: dict[str, Any] = {
    "launchType": "FARGATE",
    "networkConfiguration": {
        "awsvpcConfiguration": {"subnets": ["s-1", "s-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
    },
    "deploymentConfiguration": {
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    },
    "loadBalancers": [{"targetGroupArn": "arn:web", "containerName": "api", "containerPort": 8080}],
    "placementStrategy": [{"type": "spread", "field": "zone"}, {"type": "binpack", "field": "memory"}],
    "enableExecuteCommand": False,
}
values = st.recursive(
    st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, []),
        (THERE, []),
        ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s-2", "s-1"]}}}, []),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s-1", "s-3"]}}},
            ["networkConfiguration.awsvpcConfiguration.subnets"],
        ),
        ({"deploymentConfiguration": {"maximumPercent": 150}}, ["deploymentConfiguration.maximumPercent"]),
        (
            {"deploymentConfiguration": {"deploymentCircuitBreaker": {"rollback": False}}},
            ["deploymentConfiguration.deploymentCircuitBreaker.rollback"],
        ),
        (
            {"loadBalancers": [{"targetGroupArn": "arn:web", "containerName": "api", "containerPort": 8081}]},
            ["loadBalancers"],
        ),
        ({"loadBalancers": []}, ["loadBalancers"]),
        ({"placementStrategy": THERE["placementStrategy"][::-1]}, ["placementStrategy"]),
        ({"healthCheckGracePeriodSeconds": 0, "serviceRegistries": [], "enableExecuteCommand": False}, []),
        ({"healthCheckGracePeriodSeconds": 30}, ["healthCheckGracePeriodSeconds"]),
        ({"deploymentConfiguration": {"alarms": {"enable": False, "alarmNames": []}}}, []),
        ({"launchType": "EC2"}, ["launchType"]),
    ],
)
def test_all_that_is_declared_is_compared(wanted: dict[str, Any], expected: list[str]) -> None:
    assert differences(wanted, THERE) == expected


# On a busy machine the first example takes a second.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), values, max_size=3), st.dictionaries(st.sampled_from("abc"), values))
def test_after_an_update_nothing_differs(wanted: dict[str, Any], there: dict[str, Any]) -> None:
    after = merged(wanted, there)
    assert differences(wanted, after) == []
    assert {key: after[key] for key in there if key not in wanted} == {
        key: value for key, value in there.items() if key not in wanted
    }
    assert (differences(wanted, there) == []) or only_declared(wanted, there) != only_declared(wanted, after)


def test_an_update_keeps_what_is_not_declared() -> None:
    wanted = {"deploymentConfiguration": {"maximumPercent": 150}}
    assert merged(wanted, THERE)["deploymentConfiguration"] == {
        "maximumPercent": 150,
        "minimumHealthyPercent": 100,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    }


def test_service_connect_is_that_of_the_primary_deployment() -> None:
    connect = {"enabled": True, "namespace": "production"}
    service = {"deployments": [{"status": "ACTIVE"}, {"status": "PRIMARY", "serviceConnectConfiguration": connect}]}
    assert differences({"serviceConnectConfiguration": connect}, described(service)) == []


def test_what_can_not_be_changed_is_named() -> None:
    assert fixed_settings(["launchType", "deploymentConfiguration.alarms"], ["deploymentConfiguration"]) == [
        "launchType"
    ]


def test_names_that_the_api_does_not_know() -> None:
    wrong = unknown_settings({"network_configuration": {}, "desiredCount": 2, "launchType": "EC2"}, ["launchType"])
    assert wrong == [
        "definition.desiredCount is an option of the module",
        "definition.network_configuration is not a parameter of CreateService",
    ]
