# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.lookup.hosts_of import missing

FLEET: dict[str, list[str]] = {"all": ["a", "b", "c"], "ungrouped": [], "gateways": ["a", "b"], "others": ["c"]}


def reason(group: str = "gateways", left: Sequence[str] = ("a", "b", "c"), limit: str = "", **more: Any) -> str:
    return missing(group, **{"groups": FLEET, "left": left, "limit": limit, "inventories": ["hosts.yml"], **more})


def test_with_a_host_there_is_nothing_to_say() -> None:
    assert not reason()
    assert not reason(left=["b"], limit="b")


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (
            {"all": ["a"], "gatewais": ["a"]},
            "The inventory hosts.yml has hosts in these groups: gatewais (1). Name the inventory of the fleet with -i",
        ),
        (
            {"all": ["c"], "gateways": [], "others": ["c"]},
            "The inventory hosts.yml has hosts in these groups: others (1).",
        ),
        ({"all": [], "ungrouped": []}, "No host is in the group gateways. The inventory hosts.yml has no hosts."),
    ],
)
def test_an_empty_group(groups: dict[str, list[str]], words: str) -> None:
    assert words in reason(groups=groups)


def test_a_limit_outside_the_group() -> None:
    assert reason(left=["c"], limit="c").startswith("--limit c leaves no host of the group gateways, which has a, b.")
    many = {"gateways": [f"gateway-{number}" for number in range(200)]}
    assert "gateway-9 and 190 more." in reason(groups=many, left=[], limit="c")


@pytest.mark.parametrize(
    ("left", "limit", "good"),
    [([], "", True), (["localhost"], "localhost", True), (["c"], "c,localhost", True), (["c"], "c", False)],
)
def test_localhost(left: list[str], limit: str, good: bool) -> None:
    assert (not reason("localhost", left, limit)) == good
