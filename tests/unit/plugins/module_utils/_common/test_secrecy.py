# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redaction, with the same table of cases as the gateway's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.redact import HIDDEN, shown_environment
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.secrecy import is_secret

CASES = json.loads((Path(__file__).parents[4] / "data" / "secrets.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['name']}={case['value'][:24]}")
def test_what_is_a_secret(case: dict[str, Any]) -> None:
    assert is_secret(case["name"], case["value"]) is case["secret"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['name']}={case['value'][:24]}")
def test_a_diff_hides_the_secrets_and_nothing_else(case: dict[str, Any]) -> None:
    shown = shown_environment({case["name"]: case["value"]})[case["name"]]
    assert (HIDDEN in shown) is case["secret"]
    assert case["secret"] or shown == case["value"]
