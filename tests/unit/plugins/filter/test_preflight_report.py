# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.evenkeel.fleet.plugins.filter.preflight_report import preflight_report


def test_nothing_found() -> None:
    assert preflight_report({}) == ""
    assert preflight_report({"a": [], "b": []}) == ""


def test_a_problem_is_said_once_with_its_hosts() -> None:
    report = preflight_report({"a": ["No image.", "Port taken."], "b": ["No image."], "c": ["No image."]})
    assert report.splitlines() == [
        "2 thing(s) to put right; nothing was changed on any host:",
        "- all hosts: No image.",
        "- a: Port taken.",
    ]


def test_a_single_host_is_named() -> None:
    assert "- a: No image." in preflight_report({"a": ["No image."]})
