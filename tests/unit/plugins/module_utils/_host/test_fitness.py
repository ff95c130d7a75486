# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import fitness


@pytest.mark.parametrize(
    ("release", "fit"),
    [
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"', True),
        ("ID=ubuntu\nID_LIKE=debian", True),
        ('ID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"', True),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', True),
        ("ID=alpine\nPRETTY_NAME=Alpine", False),
        ("", False),
    ],
)
def test_distribution(release: str, fit: bool) -> None:
    problems = fitness.distribution_problems(release)
    assert (problems == []) is fit


def test_unsupported_distribution_is_named() -> None:
    (problem,) = fitness.distribution_problems('ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"')
    assert "Alpine Linux v3.20" in problem


def test_system_reports_all_at_once() -> None:
    assert fitness.system_problems("x86_64", 0, "systemd") == []
    assert len(fitness.system_problems("riscv64", 1000, "bash")) == 3


def test_disk_looks_at_the_nearest_existing_directory(tmp_path: Path) -> None:
    missing = tmp_path / "not" / "there"
    assert fitness.disk_problems(missing, 0) == []
    (problem,) = fitness.disk_problems(missing, 10**12)
    assert str(tmp_path) in problem
    assert "1000000000000 MB are required" in problem


def test_memory() -> None:
    meminfo = "MemTotal:        1000000 kB\nMemFree: 1 kB\n"
    assert fitness.memory_problems(meminfo, 1024) == []
    (problem,) = fitness.memory_problems(meminfo, 1025)
    assert "1024 MB" in problem


@pytest.mark.parametrize("content", ["", "  \n", "{}", '{"log-driver": "json-file"}'])
def test_json_is_fine(tmp_path: Path, content: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(content)
    assert fitness.json_problems(path) == []


def test_missing_json_is_fine(tmp_path: Path) -> None:
    assert fitness.json_problems(tmp_path / "daemon.json") == []


@pytest.mark.parametrize(("content", "word"), [('{\n  "a" 1\n}', "line 2"), ("[]", "object")])
def test_malformed_json_is_shown(tmp_path: Path, content: str, word: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(content)
    (problem,) = fitness.json_problems(path)
    assert str(path) in problem
    assert word in problem


def test_clock() -> None:
    assert fitness.clock_problems(1000.0, 1059.0, 60) == []
    (behind,) = fitness.clock_problems(1000.0, 1061.0, 60)
    (ahead,) = fitness.clock_problems(1061.0, 1000.0, 60)
    assert "behind" in behind
    assert "ahead of" in ahead


def test_endpoints_are_asked_at_the_same_time() -> None:
    # A socket that listens but whose queue is full answers nothing, as a firewall that drops does.
    with socket.socket() as silent, socket.socket() as filler:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        filler.connect(silent.getsockname())
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        problems = fitness.endpoint_problems([endpoint] * 8, timeout=0.5)
        assert time.monotonic() - began < 3
    assert len(problems) == 8
    assert "does not answer within 0.5 s" in problems[0]


def test_endpoint_that_listens_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert fitness.endpoint_problems([f"127.0.0.1:{server.getsockname()[1]}"], timeout=5) == []


def test_endpoint_problems_say_what_is_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    refused, unknown, malformed = fitness.endpoint_problems([closed, "no-such.invalid:5432", "db"], timeout=5)
    assert "refused" in refused
    assert "no-such.invalid" in unknown
    assert "resolved" in unknown
    assert "host:port" in malformed


def test_a_free_port_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert fitness.port_problems(fitness.WantedPort(free, "gateway")) == []


def test_a_taken_port_names_port_and_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitness, "_publishing_container", lambda _number: "other")
    with socket.create_server(("0.0.0.0", 0)) as server:
        taken = server.getsockname()[1]
        (problem,) = fitness.port_problems(fitness.WantedPort(taken, "gateway"))
        assert f"Port {taken} is taken by the container other" in problem
        assert fitness.port_problems(fitness.WantedPort(taken, "other")) == []


def test_a_taken_port_names_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitness, "_publishing_container", lambda _number: None)
    with socket.create_server(("0.0.0.0", 0)) as server:
        (problem,) = fitness.port_problems(fitness.WantedPort(server.getsockname()[1], "gateway"))
    assert f"(pid {os.getpid()})" in problem
