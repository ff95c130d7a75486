# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report import github
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.document import document
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import BEGAN, recording, told

HERE = {"GITHUB_ACTIONS": "true"}


def report(name: str = "failed") -> dict[str, Any]:
    return document(told(recording(name)), 100.0, BEGAN)


def refused() -> dict[str, Any]:
    refusal = ("ends", 1.0, "a", "fail", "", "failed", {"msg": ["Nothing was changed.", "It is locked by ci@runner."]})
    return document(told([(*refusal, True)]), 2.0, BEGAN)


def unescaped(line: str) -> str:
    for escape, character in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        line = line.replace(escape, character)
    return line


@pytest.mark.parametrize("text", ["100% of it", "one\ntwo", "a\r\n::set-output name=x::y", "%0A::add-mask::x"])
def test_a_message_stays_within_its_line_and_keeps_its_words(text: str) -> None:
    line = github.error("title", text)
    assert "\n" not in line and "\r" not in line
    assert unescaped(line.removeprefix("::error title=title::")) == text.replace("\r", "")


def test_a_title_cannot_begin_another_property() -> None:
    assert github.error("a,file=b::c%", "x") == "::error title=a%2Cfile=b%3A%3Ac%25::x"


def test_a_secret_is_in_neither() -> None:
    planted = "abcdefghijklmnop"
    broken = report()
    broken["words"] = [f"It failed: token={planted}"]
    broken["failures"] = [{**broken["failures"][0], "cause": f"password={planted}"}]
    assert planted not in "".join(github.error_lines(broken)) + github.step_summary(broken)


def test_a_rollout_that_succeeds_annotates_nothing() -> None:
    assert github.error_lines(report("succeeded")) == []
    assert "Rollout" in github.step_summary(report("succeeded"))


def test_each_reason_and_each_failure_is_an_annotation() -> None:
    failed = report()
    lines = [unescaped(line) for line in github.error_lines(failed)]
    assert all(line.startswith("::error title=") for line in lines)
    for words in failed["words"]:
        assert any(words in line for line in lines)
    for failure in failed["failures"]:
        assert any(f"{failure['host']}: {failure['step']} failed" in line for line in lines)


def test_no_more_annotations_than_are_shown() -> None:
    many = report()
    many["failures"] *= 20
    assert len(github.error_lines(many)) == github.MOST_ANNOTATIONS


def test_a_refused_rollout_says_that_nothing_was_changed() -> None:
    assert [unescaped(line) for line in github.error_lines(refused())] == [
        "::error title=Rollout refused::Nothing was changed.",
        "::error title=Rollout refused::It is locked by ci@runner.",
    ]
    text = github.step_summary(refused())
    assert text.startswith("### Rollout: refused, nothing was changed\n")
    assert "- It is locked by ci\\@runner." in text


def test_the_summary_has_a_row_for_each_host() -> None:
    failed = report()
    text = github.step_summary(failed)
    assert text.startswith(f"### Rollout {failed['rollout_id']}: failed\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for host in failed["hosts"]:
        name = host["name"].replace("-", "\\-")
        assert any(row.startswith(f"| {name} | {host['state']} |") for row in rows), host["name"]


def test_what_a_container_said_is_no_markup() -> None:
    planted = report()
    planted["failures"][0]["cause"] = "| <img src=x> [a](javascript:1) `b`"
    text = github.step_summary(planted)
    assert "<img" not in text.replace("\\<", "")
    assert "\\| \\<img src=x\\> \\[a\\]\\(javascript:1\\) \\`b\\`" in text


def test_elsewhere_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    said: list[str] = []
    github.tell(report(), {"GITHUB_STEP_SUMMARY": str(path)}, said.append, said.append)
    assert said == [] and not path.exists()


def test_the_summary_is_added_to_what_the_step_has(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    said: list[str] = []
    github.tell(report(), {**HERE, "GITHUB_STEP_SUMMARY": str(path)}, said.append, pytest.fail)
    assert path.read_text().startswith("before\n### Rollout")
    assert said == github.error_lines(report())


def test_a_summary_that_is_too_long_is_cut_to_its_heading(tmp_path: Path) -> None:
    long = report()
    long["words"] = ["a line of words " * 10] * (github.MOST_BYTES // 150)
    github.add_step_summary(tmp_path / "summary.md", long)
    assert (tmp_path / "summary.md").read_text() == f"### Rollout {long['rollout_id']}: failed\n"


def test_a_summary_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    warned: list[str] = []
    said: list[str] = []
    github.tell(report(), {**HERE, "GITHUB_STEP_SUMMARY": str(tmp_path)}, said.append, warned.append)
    assert said and "can't be written" in warned[0]
