# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit codes and JSON summary in docs/how-to/ci.md, with real playbooks and a missing host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.checkout.support import CHECKOUT
from tests.integration.support import environment

PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gateway"
VARIABLES = {
    "ecr_registry": "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "gateway_image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/gateway:1",
    "gateway_aws_region": "eu-central-1",
    "gateway_secret_arn": SECRET,
    "gateway_db_secret_arn": SECRET,
    "rollout_database": {"host": "127.0.0.1", "port": 1, "name": "gateway", "user": "gateway"},
}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    host = {"ansible_host": "127.0.0.1", "ansible_port": 1, "instance_id": "i-1"}
    path.write_text(yaml.safe_dump({"gateways": {"hosts": {"gateway-a": host}, "vars": VARIABLES}}))
    return path


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = (PLAYBOOK, *arguments)
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment(**variables), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (1, ("playbooks/no_such_playbook.yml",)),
        (1, ("playbooks/drain.yml", "--limit", "nobody")),
        (2, ("playbooks/status.yml",)),
        (2, ("playbooks/rolling_update.yml", "--check")),
        (2, ("playbooks/drain.yml", "-e", "rollout_lock_wait=soon")),
        (4, ("playbooks/site.yml",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_playbook_exits_as_documented(inventory: Path, code: int, arguments: tuple[str, ...]) -> None:
    finished = run("-i", inventory, *arguments)
    assert finished.returncode == code, finished.stdout + finished.stderr


def test_a_refused_rollout_leaves_its_summary(inventory: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    variables = {"EVENKEEL_ROLLOUT_SUMMARY": str(summary), "EVENKEEL_ROLLOUT_REPORT": str(tmp_path / "report")}
    finished = run("-i", inventory, "playbooks/rolling_update.yml", **variables)
    assert finished.returncode == 2, finished.stdout + finished.stderr
    report: dict[str, Any] = json.loads(summary.read_text())
    jsonschema.validate(report, json.loads((CHECKOUT / "docs" / "rollout-report.schema.json").read_text()))
    assert (report["result"], report["changed"]) == ("failed", False)
    assert any("gateway-a" in words for words in report["words"])
    assert {host["name"]: host["state"] for host in report["hosts"]} == {"gateway-a": "unreachable"}
    assert not (tmp_path / "report").exists()
