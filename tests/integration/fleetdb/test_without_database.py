# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook that needs the database fails with the variable's name, before any call to a host."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import warm
from tests.integration.support import CHECKOUT, environment

# These ask no database.
WITHOUT = {"aws.yml", "compose_update.yml", "launch_template.yml", "private_network.yml", "site.yml"}
# There it is an option.
WITHOUT |= {path.name for kind in ("ecs", "kubernetes") for path in (CHECKOUT / "playbooks").glob(f"{kind}*.yml")}
PLAYBOOKS = sorted(path.name for path in (CHECKOUT / "playbooks").glob("*.yml") if path.name not in WITHOUT)
VARIABLES = {
    "gateway_image": "registry.test/gateway:1",
    "instance_id": "i-1",
    "rollout_unlock_reason": "test",
    "fleet_replacement_group": "gateways",
    "gateway_aws_region": "eu-central-1",
    "gateway_db_secret_arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:database",
    "gateway_secret_arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gateway",
    "maintenance_group": "gateways",
    "ansible_connection": "local",
    # Nothing answers there: what goes on to a host or to AWS fails in other words.
    "ansible_python_interpreter": "/nowhere/python",
}


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_missing_variable_is_named(tmp_path: Path, playbook: str) -> None:
    hosts = {"gateways": {"hosts": {"gateway-a": VARIABLES}}}
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"children": hosts}}))
    known = {name: value for name, value in environment().items() if not name.startswith("PG")}
    limit = ["--limit", "gateway-a"] if playbook in ("drain.yml", "admit.yml", "maintenance.yml") else []
    path = str(CHECKOUT / "playbooks" / playbook)
    finished = warm.run(
        ["-i", str(inventory), path, *limit, "-e", "fleet_replacement_group=gateways"],
        cwd=tmp_path,
        env={**known, "PATH": os.environ["PATH"], "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
    )
    said = " ".join(finished.stdout.split())
    assert finished.returncode != 0, said
    assert "rollout_database is not set" in said, said + finished.stderr
    assert "psycopg" not in said and "socket" not in said.replace("rollout_haproxy_sockets", ""), said
