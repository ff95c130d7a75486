# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path.parent.parent for path in (Path(__file__).parents[3] / "roles").glob("*/meta/argument_specs.yml"))

# What the inventory aws_ec2 says of a host.
FROM_INVENTORY = {"instance_id"}


def load(role: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((role / name).read_text())
    return content


def options(role: Path) -> dict[str, Any]:
    """Of all entry points; where they differ, those of the role itself."""
    entries = load(role, "meta/argument_specs.yml")["argument_specs"]
    found: dict[str, Any] = {}
    for entry in [*entries.values(), entries["main"]]:
        found.update(entry["options"])
    return found


def test_every_role_has_a_specification() -> None:
    assert ROLES
    assert {role.name for role in ROLES} == {path.name for path in ROLES[0].parent.iterdir() if path.is_dir()}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_specification_name_the_same_variables(role: Path) -> None:
    specified = options(role)
    defaults = load(role, "defaults/main.yml")
    required = {name for name, option in specified.items() if option.get("required")}
    assert set(defaults) | required == set(specified)
    assert not set(defaults) & required


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_specification_tells_the_true_default(role: Path) -> None:
    defaults = load(role, "defaults/main.yml")
    for name, option in options(role).items():
        value = defaults.get(name)
        if "default" in option and "{{" not in str(value):
            assert option["default"] == value, name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_start_with_the_role_s_name(role: Path) -> None:
    variables = role / "vars" / "main.yml"
    private = yaml.safe_load(variables.read_text()) if variables.exists() else {}
    of_others = {name for other in ROLES for name in options(other) if name.startswith(f"{other.name}_")}
    for name in set(options(role)) - of_others - FROM_INVENTORY:
        assert name.startswith(f"{role.name}_")
    assert all(name.startswith((f"_{role.name}_", f"{role.name}_")) for name in private)


def test_the_bootstrap_knows_every_role_that_declares_something() -> None:
    having_variables = [role for role in ROLES if (role / "vars" / "main.yml").exists()]
    declaring = {role.name for role in having_variables if f"{role.name}_declaration" in load(role, "vars/main.yml")}
    bootstrap = next(role for role in ROLES if role.name == "bootstrap")
    assert set(load(bootstrap, "defaults/main.yml")["bootstrap_roles"]) == declaring
    assert set(options(bootstrap)["bootstrap_roles"]["choices"]) == declaring
    imported = (bootstrap / "tasks" / "declarations.yml").read_text()
    assert all(f"name: {name}\n" in imported for name in declaring)
