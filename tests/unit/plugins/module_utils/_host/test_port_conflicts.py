# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import port_conflicts


def test_it_names_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_conflicts, "PROC", tmp_path)
    (tmp_path / "net").mkdir()
    listening = "0: 00000000:0050 00000000:0000 0A 0:0 0:0 0 0 0 4711 1"
    connected = "1: 0100007F:0050 00000000:0000 01 0:0 0:0 0 0 0 4712 1"
    (tmp_path / "net/tcp").write_text(f"sl local rem st\n{listening}\n{connected}\n")
    (tmp_path / "42/fd").mkdir(parents=True)
    (tmp_path / "42/comm").write_text("nginx\n")
    (tmp_path / "42/fd/3").symlink_to("socket:[4711]")
    (tmp_path / "43/fd").mkdir(parents=True)
    (tmp_path / "43/comm").write_text("curl\n")
    (tmp_path / "43/fd/3").symlink_to("socket:[4712]")
    assert port_conflicts.listeners(80) == ["nginx (pid 42)"]
    assert port_conflicts.listeners(81) == []


def test_a_listener_that_nobody_here_owns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_conflicts, "PROC", tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("sl local rem st\n0: 00000000:0050 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n")
    assert port_conflicts.listeners(80) == ["a process of another namespace"]


def test_this_very_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert any(f"(pid {os.getpid()})" in text for text in port_conflicts.listeners(server.getsockname()[1]))
