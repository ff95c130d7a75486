# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permissions that the reference page lists are those of the component `operator`."""

from __future__ import annotations

import re

import yaml

from tests.checkout.support import CHECKOUT

PAGE = CHECKOUT / "docs" / "reference" / "playbooks" / "kubernetes_rolling_update.md"
ROLE = CHECKOUT / "gateway" / "deploy" / "k8s" / "components" / "operator" / "role.yaml"
ROW = re.compile(r"^\| (?:`(\w+)`)? ?\| `([a-z/]+)` \| ([`a-z, ]+) \|", re.MULTILINE)


def test_the_page_and_the_role_agree() -> None:
    listed = {(group, resource): re.findall(r"\w+", verbs) for group, resource, verbs in ROW.findall(PAGE.read_text())}
    rules = yaml.safe_load(ROLE.read_text())["rules"]
    granted = {(group, name): one["verbs"] for one in rules for group in one["apiGroups"] for name in one["resources"]}
    assert len(granted) == len(rules)
    assert listed == granted
