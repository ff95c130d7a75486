# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ARNs are of the partition of the region: in China and in GovCloud, those of the partition aws match nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.evenkeel.fleet.tests.unit.trusted import trusted

ROLES = Path(__file__).parents[3] / "roles"
FILES = sorted(
    path
    for folder in ("defaults", "vars", "tasks", "templates", "files")
    for path in ROLES.glob(f"*/{folder}/**/*")
    if path.is_file() and path.parent.name != "__pycache__"
)
CHOSEN: dict[str, Any] = {
    "fleet_account": "123456789012",
    "iam_ecr_repositories": ["gateway"],
    "iam_ssm_prefix": "/gateway/",
    "iam_autoscaling_groups": ["gateways"],
    "iam_log_groups": ["system"],
    "iam_target_groups": ["gateways"],
    "iam_alarm_names": ["gateways-cpu"],
    "iam_kms_key_arns": ["key"],
    "iam_session_manager": True,
    "iam_instance_connect": True,
    "iam_replaces_hosts": True,
    "iam_scales_in": True,
    "launch_template_bucket": "artifacts",
}


@pytest.mark.parametrize(
    ("region", "partition", "domain"),
    [
        ("eu-central-1", "aws", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
    ],
)
def test_policies_are_about_the_region_s_partition(region: str, partition: str, domain: str) -> None:
    files = [ROLES / "iam" / folder / "main.yml" for folder in ("defaults", "vars")]
    variables = {name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()}
    templar = Templar(DataLoader(), trusted(variables | CHOSEN | {"fleet_region": region}))
    text = json.dumps(templar.template(trusted("{{ _iam_documents }}")))
    arns = re.findall(r"arn:([^:]+):([^:]+)", text)
    assert {found for found, _service in arns} == {partition}
    assert {"autoscaling", "ecr", "elasticloadbalancing", "logs", "s3", "ssm"} <= {
        service for _partition, service in arns
    }
    assert f"secretsmanager.{region}.{domain}" in text


def test_no_role_has_a_partition_of_its_own() -> None:
    found = [str(path.relative_to(ROLES)) for path in FILES if "arn:aws:" in path.read_text()]
    assert found == []
