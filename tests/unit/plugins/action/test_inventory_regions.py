# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The regions in an inventory are found, and compared with the region of calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.action.aws_identity_info import files, regions
from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.identity import inventories_elsewhere


def test_files_are_those_that_the_plugin_reads(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    for name in ("aws_ec2.yml", "blue.aws_ec2.yaml", "hosts.yml", "group_vars/aws_ec2.yml"):
        (tmp_path / name).write_text("---")
    found = list(files([str(tmp_path), str(tmp_path / "hosts.yml"), "nobody,", "/nowhere/aws_ec2.yml"]))
    assert [path.name for path in found] == ["aws_ec2.yml", "blue.aws_ec2.yaml"]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"plugin": "amazon.aws.aws_ec2", "regions": ["eu-central-1", "us-east-1"]}, ["eu-central-1", "us-east-1"]),
        ({"plugin": "aws_ec2", "regions": "eu-central-1"}, ["eu-central-1"]),
        ({"plugin": "aws_ec2", "regions": ["{{ lookup('env', 'REGION') }}"]}, []),
        ({"plugin": "aws_ec2"}, []),
        ({"plugin": "constructed", "regions": ["eu-central-1"]}, []),
        (None, []),
        ([], []),
    ],
)
def test_regions_of_an_inventory(said: Any, found: list[str]) -> None:
    assert regions(said) == found


def test_an_inventory_of_other_regions_is_named() -> None:
    inventories = {"mine/aws_ec2.yml": ["us-east-1", "us-west-2"], "more.aws_ec2.yml": []}
    assert inventories_elsewhere(inventories, "us-west-2") == []
    assert inventories_elsewhere({}, "us-west-2") == []
    assert inventories_elsewhere(inventories, "eu-central-1") == [
        "The inventory mine/aws_ec2.yml lists instances of us-east-1, us-west-2, and the region is eu-central-1."
    ]
