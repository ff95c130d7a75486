# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is published, installed alone, does the work: no file of the checkout, no setting, no other collection."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.conftest import Fleet

BIN = Path(sys.executable).parent


def test_the_installed_tarball_bootstraps_a_bare_host(serving: Fleet, tmp_path: Path) -> None:
    serving.run(BIN / "ansible-galaxy", "collection", "build", "--output-path", tmp_path)
    (tarball,) = tmp_path.glob("evenkeel-fleet-*.tar.gz")
    with tarfile.open(tarball) as archive:
        top = {name.partition("/")[0] for name in archive.getnames()}
    assert {"plugins", "roles", "playbooks", "meta"} <= top
    assert not top & {"fleet", "gateway", "molecule", "tests", ".git", ".venv", ".fleet", ".cache"}

    collections, elsewhere = tmp_path / "collections", tmp_path / "elsewhere"
    elsewhere.mkdir()
    alone = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    serving.run(
        BIN / "ansible-galaxy", "collection", "install", "--offline", "-p", collections, tarball, cwd=elsewhere, **alone
    )
    listed = serving.run(BIN / "ansible-galaxy", "collection", "list", "--format", "json", cwd=elsewhere, **alone)
    assert "evenkeel.fleet" in listed and "community.docker" not in listed

    serving.make_bare("host-3")
    assert "dockerd" not in serving.on("host-3", "command -v dockerd || true")
    site = (BIN / "ansible-playbook", "-i", serving.inventory, "evenkeel.fleet.site", "--limit", "host-3")
    serving.run(*site, cwd=elsewhere, **alone)
    serving.assert_serving()
    assert serving.about("host-3")["instanceId"] == serving.facts["hosts"]["host-3"]["instance_id"]
