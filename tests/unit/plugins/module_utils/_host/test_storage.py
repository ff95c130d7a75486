# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import fitness, storage
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.storage import image_folder, wanted_folder

MOVED = {"DockerRootDir": "/engine/data"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(storage, "DAEMON_CONFIG", tmp_path / "daemon.json")
    monkeypatch.setattr(storage, "CONTAINERD_CONFIG", tmp_path / "config.toml")
    return tmp_path


def declared(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "imds"}, {"name": "docker", "engine": {"config": config}}]


def test_what_is_declared_comes_first(files: Path) -> None:
    assert wanted_folder([], {}) == Path("/var/lib/docker")
    assert wanted_folder([], MOVED) == Path("/engine/data")
    (files / "daemon.json").write_text(json.dumps({"data-root": "/file/data"}))
    assert wanted_folder(declared({"live-restore": True}), MOVED) == Path("/file/data")
    assert wanted_folder(declared({"data-root": "/declared/data"}), MOVED) == Path("/declared/data")
    assert wanted_folder(declared({"data-root": None}), MOVED) == Path("/var/lib/docker")


def test_a_daemon_json_that_can_t_be_read_is_another_finding(files: Path) -> None:
    (files / "daemon.json").write_text("{,")
    assert wanted_folder([], MOVED) == Path("/engine/data")


def test_containerd_s_store_lies_elsewhere(files: Path) -> None:
    info = {**MOVED, "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    assert image_folder(info) == Path("/var/lib/containerd")
    (files / "config.toml").write_text('version = 2\nroot = "/mnt/containerd"\n[plugins]\n  root = "no"\n')
    assert image_folder(info) == Path("/mnt/containerd")


def test_the_message_names_the_file_system_and_what_it_holds() -> None:
    (problem,) = fitness.disk_problems(Path("/dev/shm/not/there"), 10**12)
    assert "free on the file system /dev/shm, which holds docker's data (/dev/shm/not/there)" in problem


def test_the_fitness_of_a_host_is_about_the_declared_place() -> None:
    found = fitness.problems(
        declarations=declared({"data-root": "/dev/shm/docker"}),
        ports=[],
        endpoints=[],
        min_disk_mb=10**12,
        min_memory_mb=0,
        controller_time=0,
        timeout=1,
    )
    assert [problem for problem in found if "the file system /dev/shm, which" in problem]
