# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight looks for what the bootstrap declares: what a template omits is not part of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from ansible_collections.evenkeel.fleet.plugins.action.preflight import ActionModule, kept
from ansible_collections.evenkeel.fleet.tests.unit.trusted import trusted

PLACEHOLDER = "__omit_place_holder__5"
WANTED = {"networks": [{"name": "app-net", "subnet": "{{ unset | default(omit) }}", "gateway": None}]}
EXPECTED = {"networks": [{"name": "app-net", "gateway": None}]}


def test_a_declaration_has_no_placeholder() -> None:
    variables: dict[str, Any] = VariableManager(loader=DataLoader()).get_vars()
    variables["network_declaration"] = trusted(WANTED)
    action = ActionModule.__new__(ActionModule)
    action._templar = Templar(DataLoader(), variables)
    assert action._declarations(["network_declaration"], variables) == [EXPECTED]


@pytest.mark.parametrize(
    "declared",
    [
        {"networks": [{"name": "app-net", "subnet": PLACEHOLDER, "gateway": None}]},
        {"networks": [PLACEHOLDER, {"name": "app-net", "gateway": None}], "files": PLACEHOLDER},
    ],
)
def test_the_placeholder_of_older_releases_is_removed(declared: dict[str, Any]) -> None:
    assert kept(declared, PLACEHOLDER) == EXPECTED
