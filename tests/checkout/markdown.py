# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the Markdown files of the checkout: links, anchors, tables of contents and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.checkout.support import CHECKOUT, paths

INDEX = CHECKOUT / "docs" / "index.md"
_FENCE = re.compile(r"^ *(```+)[^\n]*\n.*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^ *```(?:console|bash|shell)?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HTML_LINK = re.compile(r"<(?:img|a|source)\b[^>]*?\b(?:src|srcset|href)=\"([^\"]+)\"")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


def pages() -> list[Path]:
    return paths("*.md")


def prose(text: str) -> str:
    """The text without its code."""
    return _CODE.sub("", _FENCE.sub("", text))


def links(text: str) -> list[str]:
    """The targets of all links and pictures."""
    text = prose(text)
    return [target for pattern in (_LINK, _HTML_LINK, _DEFINITION) for target in pattern.findall(text)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        number, anchor = 0, slug
        while anchor in found:
            number += 1
            anchor = f"{slug}-{number}"
        found.add(anchor)
    return found


def toctree(page: Path) -> Iterator[Path]:
    """The pages that the tables of contents of a page name."""
    for block in _TOCTREE.findall(page.read_text()):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                yield from sorted(page.parent.glob(f"{line}.md"))


def commands(text: str) -> Iterator[str]:
    """The command lines of a page's blocks, and inline code that begins with a known program or with `-e`."""
    for block in _CONSOLE.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if re.match(r"\s*(\$ |make |ansible)", line):
                yield line.strip().removeprefix("$ ")
    for code in _CODE.findall(_FENCE.sub("", text)):
        inner = code.strip("`")
        if re.match(r"(make [a-z]|(\.venv/bin/)?ansible-playbook [^-]|[\w.]+\.yml -|-e \S)", inner):
            yield inner
