# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._progress_pipe import ProgressPipe


def test_a_fork_is_heard_line_by_line() -> None:
    pipe = ProgressPipe()
    pipe.say("lost: nobody listens")
    assert pipe.heard() == []
    pipe.open()
    child = os.fork()
    if child == 0:
        pipe.say("one\nline")
        pipe.say("ü" * 5000)
        os._exit(0)
    os.waitpid(child, 0)
    first, second = pipe.heard()
    assert (first, len(second)) == ("one line", 1000)
    assert pipe.heard() == []
    pipe.close()
    pipe.say("nobody listens any more")


def test_a_reader_that_is_too_slow_stops_no_module() -> None:
    pipe = ProgressPipe()
    pipe.open()
    for _number in range(2000):
        pipe.say("x" * 1900)
    assert 0 < len(pipe.heard()) < 2000
    pipe.close()
