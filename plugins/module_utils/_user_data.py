# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user data of an instance must not contain, and their maximum size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._common.secrecy import is_secret

MOST_BYTES = 16384
SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def problems(
    user_data: str, variables: Mapping[str, Any], environment: Mapping[str, Any], no_secrets: Sequence[str] = ()
) -> list[str]:
    """One message for each problem; empty if the user data can be used. Messages never contain values."""
    found = []
    carried = {"launch_template_vars": variables, "launch_template_environment": environment}
    for option, values in carried.items():
        names = sorted({name for name, value in _leaves(values) if name not in no_secrets and is_secret(name, value)})
        if names:
            found.append(
                f"{option} has what looks like a secret in {', '.join(names)}, and every user who may describe the "
                "launch template reads it. Put it into Secrets Manager and name its ARN, or list what is no secret in "
                "launch_template_no_secrets."
            )
    wrong = [name for name in environment if not SHELL_NAME.fullmatch(str(name))]
    if wrong:
        found.append(
            f"launch_template_environment has {', '.join(json.dumps(str(name)) for name in wrong)}. The name of an "
            "environment variable has letters, digits and underscores only, and does not begin with a digit."
        )
    size = len(user_data.encode())
    if size > MOST_BYTES:
        found.append(
            f"The user data have {size} bytes of the {MOST_BYTES} that EC2 takes: shorten launch_template_vars."
        )
    return found


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each string and number in it, with the nearest key as its name; also those within JSON strings."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, str(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item, name)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        yield name, text
        if text.lstrip()[:1] in ("{", "["):
            try:
                inner = json.loads(text)
            except ValueError:
                return
            if isinstance(inner, (dict, list)):
                yield from _leaves(inner, name)
