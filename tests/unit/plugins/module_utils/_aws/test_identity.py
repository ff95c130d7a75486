# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account and region of AWS calls: conflicts with the declaration, and partitions of regions."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.identity import disagreements
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.partitions import domain_of, partition_of

DECLARED = {"region": "eu-central-1", "profile": "fleet", "endpoint_url": "https://aws.internal"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, []),
        ({"AWS_REGION": "eu-central-1", "AWS_PROFILE": "fleet", "AWS_ENDPOINT_URL": "https://aws.internal"}, []),
        ({"AWS_REGION": ""}, []),
        ({"AWS_REGION": "us-east-1"}, ["AWS_REGION"]),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}, ["AWS_DEFAULT_REGION"]),
        ({"AWS_PROFILE": "private"}, ["AWS_PROFILE"]),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, ["AWS_ENDPOINT_URL"]),
        ({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "planted"}, ["AWS_ACCESS_KEY_ID"]),
    ],
)
def test_what_the_environment_says_otherwise_is_named(environment: dict[str, str], told: list[str]) -> None:
    found = disagreements(DECLARED, {}, environment)
    assert [words.split()[0] for words in found] == told
    assert "planted" not in str(found)


def test_what_is_not_declared_is_left_to_the_environment() -> None:
    assert disagreements({}, {}, {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIA"}) == []


def test_variables_that_name_another_region_are_named() -> None:
    regions = {"iam_region": "us-east-1", "alarms_region": "eu-central-1", "other": ""}
    assert disagreements(DECLARED, regions, {}) == ["iam_region is us-east-1, and the region is eu-central-1."]


def known_partitions() -> list[dict[str, Any]]:
    resolver = boto3.session.Session()._session.get_component("endpoint_resolver")
    partitions: list[dict[str, Any]] = resolver._endpoint_data["partitions"]
    return partitions


@pytest.mark.parametrize("partition", known_partitions(), ids=lambda partition: partition["partition"])
def test_partitions_are_those_that_the_sdk_knows(partition: dict[str, Any]) -> None:
    for region in partition["regions"]:
        assert (partition_of(region), domain_of(region)) == (partition["partition"], partition["dnsSuffix"])
