# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link between the Markdown files leads to a file and a heading, and the index leads to every page."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.checkout.markdown import (
    INDEX,
    anchors,
    links,
    pages,
    toctree,
)
from tests.checkout.support import CHECKOUT

# GitHub gives it another address than the site does.
EXTERNAL = re.compile(r"https?://[\w.-]+\.[a-z]+(:\d+)?(/\S*)?|mailto:\S+@\S+")


# A file or folder of the checkout in backticks. Inventories and `meta/` also stand for the reader's own.
NAMED = re.compile(r"`((?:docs|gateway|molecule|permissions|playbooks|plugins|roles|testbed|tests|tools)/[\w./-]+)`")


def problem(page: Path, target: str) -> str:
    """What is wrong with a link of this page, or nothing."""
    if re.match(r"[a-z]+:", target):
        return "" if EXTERNAL.fullmatch(target) else "not an address"
    name, _hash, anchor = target.partition("#")
    path = Path(os.path.normpath(page.parent / name)) if name else page
    if not path.exists():
        return "no such file"
    if not path.is_relative_to(CHECKOUT):
        return "outside of the checkout"
    if anchor and path.suffix == ".md" and anchor not in anchors(path.read_text()):
        return f"no such heading in {path.relative_to(CHECKOUT)}"
    return ""


def test_every_link_resolves() -> None:
    broken = [
        f"{page.relative_to(CHECKOUT)}: ({target}): {what}"
        for page in pages()
        for target in links(page.read_text())
        if (what := problem(page, target))
    ]
    assert not broken, "\n".join(["", *broken])


def test_every_file_that_is_named_exists() -> None:
    missing = [
        f"{page.relative_to(CHECKOUT)}: {name}"
        for page in pages()
        if "changelogs" not in page.parts
        for name in NAMED.findall(page.read_text())
        if not (CHECKOUT / name).exists() and not (page.parent / name).exists()
    ]
    assert not missing, "\n".join(["", *missing])


def test_every_page_is_reachable_from_the_index() -> None:
    reached, new = {INDEX}, [INDEX]
    while new:
        page = new.pop()
        targets = [Path(os.path.normpath(page.parent / link.partition("#")[0])) for link in links(page.read_text())]
        for path in (*toctree(page), *targets):
            path = path.resolve()
            if path.suffix == ".md" and path.exists() and path not in reached:
                reached.add(path)
                new.append(path)
    documentation = {path for path in pages() if path.is_relative_to(CHECKOUT / "docs") or path.name == "README.md"}
    lost = sorted(str(path.relative_to(CHECKOUT)) for path in documentation - reached)
    assert not lost, f"add to a table of contents in docs/index.md: {lost}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("See [a](b.md), ![c](d.svg) and [e](f.md#g).", ["b.md", "d.svg", "f.md#g"]),
        ("[`a`](b.md) but not `[c](d.md)`", ["b.md"]),
        ("```yaml\n[a](b.md)\n```\n[c](d.md)", ["d.md"]),
        ('<img src="a.svg" alt="b">', ["a.svg"]),
    ],
)
def test_links_are_found(text: str, found: list[str]) -> None:
    assert links(text) == found


def test_a_broken_link_is_noticed() -> None:
    page = CHECKOUT / "README.md"
    assert problem(page, "docs/nowhere.md") == "no such file"
    assert problem(page, "docs/development.md#nowhere") == "no such heading in docs/development.md"
    assert problem(page, "https:/example.com") == "not an address"
    assert problem(page, "docs/index.md#evenkeelfleet") == ""
