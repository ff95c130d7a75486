# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import host_lock
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError


def test_a_second_call_waits_for_the_first(target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "LOCK_WAIT", 0.2)
    inside, done = threading.Event(), threading.Event()

    def first() -> None:
        with host_lock.one_at_a_time(target):
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert inside.wait(5)
    with pytest.raises(HostError, match="Another call has been converging this host"), host_lock.one_at_a_time(target):
        pass
    done.set()
    thread.join(5)
    started = time.monotonic()
    with host_lock.one_at_a_time(target):
        assert time.monotonic() - started < 5


def test_check_mode_takes_no_lock(checked: Host) -> None:
    with host_lock.one_at_a_time(checked):
        assert not host_lock.LOCK.exists()
