# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By default, the lock of a controller that is gone with its machine expires within a minute, in every role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[3] / "roles"
MOST_SECONDS = 60
# Given a rollout_id, they renew its lock, by default for longer.
RENEWING = {f"evenkeel.fleet.{name}" for name in ("rollout_lock", "instance_drain", "leader_handover")}
DEFAULTS = {
    name: value
    for path in ROLES.glob("*/defaults/main.yml")
    for name, value in yaml.safe_load(path.read_text()).items()
    if name.endswith("_lock_ttl")
}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a document."""
    if isinstance(value, dict):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(entry)


def renewals() -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls that set when a lock expires, by role."""
    for path in sorted(ROLES.glob("*/tasks/**/*.yml")):
        for task in nodes(yaml.safe_load(path.read_text())):
            for module in RENEWING & set(task):
                given = task[module] or {}
                if given.get("state") == "acquired" or (given.get("state") != "released" and "rollout_id" in given):
                    yield path.relative_to(ROLES).parts[0], given


def test_every_role_that_takes_a_lock_has_a_default() -> None:
    taking = {role for role, given in renewals() if given.get("state") == "acquired"}
    assert taking >= {"rollout", "fleet_replacement", "ecs"}
    assert {f"{role}_lock_ttl" for role in taking} == set(DEFAULTS)


def test_a_lock_that_nobody_renews_expires_within_a_minute() -> None:
    assert {name: ttl for name, ttl in DEFAULTS.items() if ttl > MOST_SECONDS} == {}


def test_every_renewal_is_for_as_long() -> None:
    for role, given in renewals():
        assert f"{role}_lock_ttl" in str(given.get("ttl")), given
