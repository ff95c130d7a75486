# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that workflows, hooks and contributors' pages name exists; the tarball leaves the checkout's files out."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.checkout.support import CHECKOUT, make_targets, read, tracked
from tools.release_notes import problems

WORKFLOWS = sorted(name for name in tracked() if name.startswith(".github/workflows/"))
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", ".github/PULL_REQUEST_TEMPLATE.md")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
# What a collection needs on Galaxy, and what a user reads there.
PUBLISHED = {"changelogs", "docs", "meta", "playbooks", "plugins", "roles"}


def steps(workflow: str) -> Iterator[dict[str, Any]]:
    for job in read(workflow)["jobs"].values():
        yield from job["steps"]


def test_there_are_workflows_for_changes_and_for_releases() -> None:
    assert {".github/workflows/ci.yml", ".github/workflows/release.yml"} <= set(WORKFLOWS)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_calls_what_is_there(workflow: str) -> None:
    for step in steps(workflow):
        script = step.get("run", "")
        for target in re.findall(r"\bmake (\S+)", script):
            assert target in make_targets(), script
        for path in re.findall(r"\b(?:bash|python) (\S+)", script):
            assert path in tracked(), script
        assert "uses" not in step or PINNED.fullmatch(step["uses"]), "an action is pinned by its commit"


def test_ci_runs_what_every_other_ci_does() -> None:
    assert any("bash .ci/run" in step.get("run", "") for step in steps(".github/workflows/ci.yml"))


def test_the_hooks_before_a_commit_run_the_tools_of_lint() -> None:
    lint = (CHECKOUT / "tools" / "lint").read_text()
    (local,) = read(".pre-commit-config.yaml")["repos"]
    for hook in local["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/").removesuffix(" --strict")
        assert command in lint, hook["id"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_for_contributors_names_what_is_there(page: str) -> None:
    text = (CHECKOUT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        path = target.removeprefix("https://github.com/evenkeel/fleet/blob/main/")
        assert path.startswith("https://") or path in tracked(), target
    named = re.findall(r"(?:`|^\$ )make ([a-z -]+)", text, re.MULTILINE)
    assert {target for targets in named for target in targets.split()} <= make_targets()


def test_the_tarball_has_no_top_level_file_but_what_galaxy_and_its_readers_need() -> None:
    ignored = read("galaxy.yml")["build_ignore"]
    top = {name.partition("/")[0] for name in tracked()}
    left = {name for name in top if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)}
    documents = {"README.md", "LICENSE", "CHANGELOG.rst", "galaxy.yml", *PAGES, "bindep.txt"}
    assert left <= PUBLISHED | documents
    assert left >= PUBLISHED


def test_a_release_whose_parts_agree_has_no_problem() -> None:
    assert list(problems("1.2.3", ["1.2.2", "1.2.3"], [], "1.2.3")) == []
    assert list(problems("1.2.3", ["1.2.3"], [], None)) == []


@pytest.mark.parametrize(
    ("released", "fragments", "tag", "words"),
    [
        (["1.2.3"], [], "1.2.4", "The tag is 1.2.4"),
        (["1.2.2"], [], None, "no release 1.2.3"),
        (["1.2.3"], ["one.yml", "two.yml"], None, "one.yml, two.yml"),
    ],
)
def test_a_release_whose_parts_differ_says_which(
    released: list[str], fragments: list[str], tag: str | None, words: str
) -> None:
    (problem,) = problems("1.2.3", released, fragments, tag)
    assert words in problem
