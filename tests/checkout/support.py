# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the checkout, for tests that compare them."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]


@cache
def tracked(*patterns: str) -> frozenset[str]:
    """What git has or would add, relative to the checkout; `patterns` as git's pathspecs."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns)
    listed = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    return frozenset(name for name in listed.split("\0") if name and (CHECKOUT / name).exists())


def paths(*patterns: str) -> list[Path]:
    return sorted(CHECKOUT / name for name in tracked(*patterns))


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def read(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / name).read_text())
