# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specifications of this collection's roles, and values converted to their types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_float, check_type_int
from ansible.module_utils.common.yaml import yaml_load
from yaml import YAMLError

ROLES = Path(__file__).parents[2] / "roles"
# As the filter bool takes them. Ansible's own check of a role's arguments takes "y" and "t", too, the filter does not.
TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")
KINDS = {
    "bool": "neither true nor false",
    "int": "not a whole number",
    "float": "not a number",
    "list": "not a list, nor a comma-separated or JSON text",
    "dict": "not a dictionary",
}


def specification(role: str) -> Mapping[str, Any] | None:
    """The options of a role's own entry point, by variable."""
    entries = _entries(role)
    return entries["main"]["options"] if entries else None


@cache
def all_options() -> Mapping[str, Any]:
    """The options of all entry points of all roles, by variable."""
    roles = sorted(path.name for path in ROLES.iterdir())
    return {
        name: option for role in roles for entry in _entries(role).values() for name, option in entry["options"].items()
    }


@cache
def _entries(role: str) -> Mapping[str, Any]:
    path = ROLES / role / "meta" / "argument_specs.yml"
    # Ansible's own loader, which notes every value's origin, takes ten times as long.
    found: Mapping[str, Any] = yaml_load(path.read_bytes())["argument_specs"] if path.is_file() else {}
    return found


def as_list(value: Any) -> list[Any]:
    """A value as a list: a text is read as JSON or as separated by commas; raises ValueError for invalid JSON."""
    if isinstance(value, str):
        return _list_of_text(value.strip())
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _list_of_text(text: str) -> list[Any]:
    if not text.startswith("["):
        return [entry.strip() for entry in text.split(",") if entry.strip()]
    try:
        found = yaml_load(text)
    except YAMLError:
        found = None
    if not isinstance(found, list):
        raise ValueError(f"{text} begins like a JSON list, but is not one.")
    return found


def typed(value: Any, option: Mapping[str, Any]) -> Any:
    """A value converted to the type of its option; raises TypeError or ValueError where that is impossible."""
    kind = option.get("type", "str")
    if kind == "bool":
        return _boolean(value)
    if kind == "int":
        return check_type_int(value)
    if kind == "float":
        return check_type_float(value)
    if kind == "list":
        return [typed(entry, {"type": option.get("elements", "raw")}) for entry in as_list(value)]
    if kind == "dict" and not isinstance(value, Mapping):
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in TRUE + FALSE:
        raise ValueError
    return text in TRUE


def problem(name: str, value: Any, option: Mapping[str, Any]) -> str:
    """What is wrong with the value of a variable; empty where nothing is."""
    if value is None:
        return ""
    kind = option.get("type", "str")
    try:
        found = typed(value, option)
    except (TypeError, ValueError):
        if kind == "dict":
            return f"{name} is {KINDS[kind]}. Set it in the inventory's group_vars or with -e '{{\"{name}\": {{…}}}}'."
        if kind == "list":
            elements = KINDS.get(option.get("elements", ""))
            return f"{name} is {KINDS[kind]}" + (f", or one of its entries is {elements}." if elements else ".")
        return f"{name} is {value}, which is {KINDS[kind]}."
    choices = option.get("choices")
    wrong = [entry for entry in (found if kind == "list" else [found]) if choices and entry not in choices]
    return f"{name} is {wrong[0]}. It can be {', '.join(map(str, choices))}." if choices and wrong else ""
