# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables for a task definition: defaults, all that is missing at once, no secret in plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from string import Template
from typing import Any

from .._common.progress import OperationError
from .._common.secrecy import WITHIN

# What ECS resolves for a container.
STORED = re.compile(
    r"arn:aws[a-z-]*:(?:secretsmanager:[a-z0-9-]+:\d{12}:secret|ssm:[a-z0-9-]+:\d{12}:parameter)[:/]\S+"
)
ALTERNATIVE = "|"
# As the filter bool takes them.
TRUE = ("true", "yes", "on", "1")


@dataclass(frozen=True)
class Wanted:
    """Names of variables: what must be exported, and how."""

    required: tuple[str, ...] = ()
    """Not empty; "A|B" is at least one of both."""
    may_be_empty: tuple[str, ...] = ()
    """Must be exported: an empty one is a decision, a missing one an omission."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """By name; an empty variable has the default, too. $NAME in one is another variable."""
    stamped: Mapping[str, str] = field(default_factory=dict)
    """Variables whose default is the time, each with the switch that makes it required instead; "" is no switch."""
    secrets: frozenset[str] = frozenset()
    """Only as the ARN of a secret or parameter, if not empty."""
    prefix: str = ""
    """All other variables that begin with it are taken, too, if it is not empty."""


def read(environ: Mapping[str, str], wanted: Wanted, now: Callable[[], str]) -> dict[str, str]:
    """The variables by name; OperationError with everything that is wrong, and no value. now: the time of the run."""
    found = {name: environ.get(name) or str(default) for name, default in wanted.defaults.items()}
    defaulted = [name for name in found if not environ.get(name)]
    found.update({name: Template(found[name]).safe_substitute(found) for name in defaulted})
    switched = tuple(name for name, switch in wanted.stamped.items() if found.get(switch, "").lower() in TRUE)
    wanted = replace(wanted, required=(*wanted.required, *switched))
    found.update({name: environ.get(name) or now() for name in wanted.stamped if name not in switched})
    for entry in (*wanted.required, *wanted.may_be_empty, *wanted.secrets):
        found.update({name: environ.get(name, "") for name in entry.split(ALTERNATIVE)})
    if wanted.prefix:
        found.update({name: value for name, value in environ.items() if name.startswith(wanted.prefix) and value})
    problems = [*_missing(environ, found, wanted), *_plaintext(found, wanted.secrets)]
    if problems:
        raise OperationError(" ".join(problems))
    return dict(sorted(found.items()))


def _missing(environ: Mapping[str, str], found: Mapping[str, str], wanted: Wanted) -> Iterable[str]:
    names = [
        " or ".join(entry.split(ALTERNATIVE))
        for entry in wanted.required
        if not any(found[name] for name in entry.split(ALTERNATIVE))
    ]
    if names:
        yield f"These environment variables are not set: {', '.join(names)}. Export them."
    undecided = [name for name in wanted.may_be_empty if name not in environ]
    if undecided:
        yield f"These are not set, and may be empty: {', '.join(undecided)}. Export them, empty or not."


def _plaintext(found: Mapping[str, str], secrets: Iterable[str]) -> Iterable[str]:
    named = {name for name in secrets if found[name] and not STORED.fullmatch(found[name])}
    # Such as the password of a Redis URL.
    within = {name for name, value in found.items() if any(pattern.search(value) for pattern in WITHIN)}
    names = sorted(named | within)
    if names:
        yield (
            f"These are secrets in plain text, which could be read in the task definition: {', '.join(names)}. Store "
            "each in Systems Manager or Secrets Manager, and export its ARN instead: "
            f'aws ssm put-parameter --type SecureString --name /ecs/{names[0]} --value "${names[0]}".'
        )


def container_variables(variables: Mapping[str, str], prefix: str = "") -> dict[str, list[dict[str, Any]]]:
    """The variables with this prefix as C(environment) and C(secrets) of a container definition, in order."""
    chosen = {name: str(value) for name, value in sorted(variables.items()) if name.startswith(prefix)}
    plain = [{"name": name, "value": value} for name, value in chosen.items() if not STORED.fullmatch(value)]
    stored = [{"name": name, "valueFrom": value} for name, value in chosen.items() if STORED.fullmatch(value)]
    return {"environment": plain, "secrets": stored}
