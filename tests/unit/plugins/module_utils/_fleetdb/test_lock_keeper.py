# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.lock_keeper import (
    GONE,
    RUNS,
    STOPPED,
    WatchedProcess,
)


def test_a_process_is_known_by_its_state() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        seen = WatchedProcess.of(child.pid)
        assert seen.state() == RUNS
        assert seen in WatchedProcess.of(os.getpid()).children()
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        assert seen.state() == STOPPED
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert seen.state() == GONE, "a zombie counts as gone"
    assert seen.state() == GONE


def test_another_process_with_the_same_id_is_another_one() -> None:
    now = WatchedProcess.of(os.getpid())
    assert now.state() == RUNS
    assert WatchedProcess(now.pid, "1").state() == GONE
