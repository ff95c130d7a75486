# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on hosts and in the gateway's image is of no one architecture: a file that names one of two names both."""

from __future__ import annotations

import re

import pytest

from tests.checkout.support import CHECKOUT, tracked

NAMES = {"amd64": re.compile(r"amd64|x86[-_]64", re.IGNORECASE), "arm64": re.compile(r"arm64|aarch64", re.IGNORECASE)}
SOURCES = tracked("plugins", "roles", "playbooks", "gateway/src", "gateway/deploy", "gateway/Dockerfile")
# What AWS takes where nothing is declared, and the default of what an operator sets: ecs_services.build.platform.
DEFAULTS = {
    "plugins/module_utils/_ecs/defaults.py",
    "plugins/module_utils/_ecs/declarations.py",
    "roles/ecs/README.md",
    "roles/ecs/meta/argument_specs.yml",
}


def named(text: str) -> set[str]:
    return {name for name, pattern in NAMES.items() if pattern.search(text)}


def naming() -> dict[str, set[str]]:
    found = {name: named((CHECKOUT / name).read_text()) for name in sorted(SOURCES)}
    return {name: architectures for name, architectures in found.items() if architectures}


def test_a_file_names_both_or_none() -> None:
    found = naming()
    assert {"plugins/module_utils/_host/fetch.py", "plugins/module_utils/_host/fitness.py"} <= set(found)
    assert {name for name, architectures in found.items() if architectures != set(NAMES)} == DEFAULTS


@pytest.mark.parametrize(
    ("text", "architectures"),
    [
        ("curl …/tool-linux-amd64", {"amd64"}),
        ("FROM --platform=linux/x86-64 python", {"amd64"}),
        ('{"x86_64": "amd64", "aarch64": "arm64"}', {"amd64", "arm64"}),
        ("apt-get install haproxy", set()),
    ],
)
def test_the_names_are_found(text: str, architectures: set[str]) -> None:
    assert named(text) == architectures
