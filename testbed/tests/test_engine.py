# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""testbed/engine stop: it ends an engine that testbed/engine started, and only where nothing runs on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[1] / "engine"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like an engine that testbed/engine started."""
    program = tmp_path / "dockerd"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "300"]) as process:
        birth = Path(f"/proc/{process.pid}/stat").read_text().split()[21]
        (tmp_path / "dockerd.started").write_text(f"{process.pid} {birth}\n")
        reaper = threading.Thread(target=process.wait, daemon=True)  # a zombie would look alive
        reaper.start()
        yield process
        process.kill()
        reaper.join(10)


def stop(state: Path, docker: str) -> subprocess.CompletedProcess[str]:
    """`testbed/engine stop`, with a client that is this shell script."""
    client = state / "docker"
    client.write_text(f"#!/bin/sh\n{docker}\n")
    client.chmod(0o755)
    variables = {**os.environ, "PATH": f"{state}:{os.environ['PATH']}", "EVENKEEL_ENGINE_STATE": str(state)}
    return subprocess.run([ENGINE, "stop"], env=variables, capture_output=True, text=True, timeout=30, check=False)


def test_the_engine_stays_while_another_checkouts_testbed_runs_on_it(
    daemon: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    stopped = stop(tmp_path, "echo ek-other-host-1")
    assert stopped.returncode == 0
    assert "left running" in stopped.stdout
    assert "ek-other-host-1" in stopped.stdout
    assert daemon.poll() is None


def test_an_engine_that_does_not_answer_is_not_taken_for_an_idle_one(
    daemon: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    stopped = stop(tmp_path, "exit 1")
    assert stopped.returncode == 1
    assert "does not list its containers" in stopped.stderr
    assert daemon.poll() is None


def test_an_idle_engine_is_stopped_by_whoever_comes_last(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert "stopped" in stop(tmp_path, "true").stdout
    assert daemon.wait(10) == -signal.SIGTERM
    assert "nothing to stop" in stop(tmp_path, "true").stdout
