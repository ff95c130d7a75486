# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads of plugins on the controller are ended before Python ends: it would stop them where they hold a lock."""

from __future__ import annotations

import re

import pytest

from tests.integration.support import CHECKOUT

THREAD = re.compile(r"(\w+(?:\.\w+)*) = threading\.Thread\(")
FILES = {
    str(path.relative_to(CHECKOUT)): path.read_text()
    for folder in ("action", "callback", "filter", "inventory", "lookup", "plugin_utils", "vars")
    for path in (CHECKOUT / "plugins" / folder).rglob("*.py")
}


@pytest.mark.parametrize("name", sorted(name for name, text in FILES.items() if "Thread(" in text))
def test_each_thread_is_waited_for(name: str) -> None:
    threads = THREAD.findall(FILES[name])
    assert len(threads) == FILES[name].count("Thread("), "each has a name"
    assert [thread for thread in threads if f"{thread}.join(" not in FILES[name]] == []


def test_the_live_view_has_threads() -> None:
    assert sum(len(THREAD.findall(text)) for text in FILES.values()) >= 2
