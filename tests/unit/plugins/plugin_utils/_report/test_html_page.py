# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.document import document
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.html_page import Page
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import (
    BEGAN,
    Event,
    begun,
    recording,
    told,
    update,
)

PAGE = Page()


def page(events: list[Event], finish: str | None = "") -> str:
    return PAGE.render(document(told(events, finish=finish), 100.0, BEGAN))


def rows(text: str) -> dict[str, list[tuple[str, float, float]]]:
    """The bars of each row of the tracker: step, left and width in percent."""
    found = {}
    for row, content in re.findall(r'data-row="([^"]*)">(.*?)\n    </div>', text, re.DOTALL):
        bars = re.findall(r'data-step="(\w+)"[^>]*style="left:([\d.]+)%;width:([\d.]+)%"', content)
        found[row] = [(step, float(left), float(width)) for step, left, width in bars]
    return found


def test_the_timeline_has_every_step_at_its_place() -> None:
    bars = rows(page(recording("succeeded")))
    assert [step for step, *_rest in bars["the fleet"]] == ["lock", "handover", "unlock"]
    for host in ("host-1", "host-2", "host-3"):
        assert [step for step, *_rest in bars[host]] == ["pull", "permit", "drain", "swap", "admit", "active", "bake"]
        for (_step, left, width), (_next, after, _w) in zip(bars[host], bars[host][1:]):
            assert left + width <= after + 0.01
        assert bars[host][-1][1] + bars[host][-1][2] <= 100


def test_a_failure_has_its_cause_and_log() -> None:
    text = page(recording("failed"))
    assert "Rollout 2 <b>failed</b>" in text
    assert "says version v1, not no-such-version" in text
    assert "the container&#39;s last" in text or "the container's last" in text
    assert "Not touched: host-2, host-3." in text


@pytest.mark.parametrize("name", ["succeeded", "failed"])
def test_it_is_a_page_at_any_moment(name: str) -> None:
    events = recording(name)
    for count in range(0, len(events), 20):
        text = page(events[:count], finish=None)
        assert "<b>unfinished</b>" in text
        assert text.rstrip().endswith("</html>")


def test_it_needs_nothing_from_elsewhere() -> None:
    text = page(recording("failed"))
    assert not re.search(r"<script|<link|<img|@import|url\(|\ssrc=|\shref=", text)
    assert "default-src 'none'" in text


def test_what_strangers_say_is_text() -> None:
    evil: Any = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    result = {"msg": evil, "log": [evil], "serving": {"version": evil, "digest": evil, "image": evil}}
    text = page([*begun("a"), *update("a", 10.0, result, "failed")])
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text


def test_a_thousand_hosts_are_written_in_time() -> None:
    hosts = [f"h{number}" for number in range(1000)]
    text = page([*begun(*hosts), *update("h1", 10.0, {})], finish=None)
    assert len(rows(text)) == 1001
