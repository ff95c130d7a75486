# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball, installed alone, works without the checkout's files and settings and without other collections."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.rollouts import BEHIND_IT, nobody_notices, order

if TYPE_CHECKING:
    from tests.system.fleet import Fleet

pytestmark = pytest.mark.usefixtures("left_serving")

BIN = Path(sys.executable).parent


def test_the_installed_tarball_sets_a_host_up_anew_and_nobody_notices(serving: Fleet, tmp_path: Path) -> None:
    serving.run(BIN / "ansible-galaxy", "collection", "build", "--output-path", tmp_path)
    (tarball,) = tmp_path.glob("evenkeel-fleet-*.tar.gz")
    with tarfile.open(tarball) as archive:
        top = {name.partition("/")[0] for name in archive.getnames()}
    assert {"plugins", "roles", "playbooks", "meta"} <= top
    assert not top & {"fleet", "gateway", "molecule", "tests", ".git", ".venv", ".testbed", ".cache"}

    collections, elsewhere = tmp_path / "collections", tmp_path / "elsewhere"
    elsewhere.mkdir()
    alone = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    serving.run(
        BIN / "ansible-galaxy", "collection", "install", "--offline", "-p", collections, tarball, cwd=elsewhere, **alone
    )
    listed = serving.run(BIN / "ansible-galaxy", "collection", "list", "--format", "json", cwd=elsewhere, **alone)
    assert "evenkeel.fleet" in listed and "community.docker" not in listed

    host = order(serving)[0]

    def play(name: str, *arguments: str) -> None:
        command = (BIN / "ansible-playbook", "-i", serving.inventory, f"evenkeel.fleet.{name}", "--limit", host)
        serving.run(*command, *arguments, cwd=elsewhere, **alone, **serving.operator())

    behind_it = ("-e", json.dumps({**BEHIND_IT, "rollout_reason": "a new disk"}))
    with nobody_notices(serving, rate=100):
        play("drain", *behind_it)
        assert serving.healthy_targets() == len(serving.hosts) - 1
        serving.make_bare(host)
        assert "dockerd" not in serving.on(host, "command -v dockerd || true")
        play("site", *behind_it)
        assert serving.healthy(host)
        assert serving.healthy_targets() == len(serving.hosts) - 1, "it gets requests when it is told to"
        play("admit", *behind_it)
        assert serving.healthy_targets() == len(serving.hosts)
    assert serving.about(host)["instanceId"] == serving.facts["hosts"][host]["instance_id"]
