# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All settings, typed and validated in one place: environment variables, most of which begin with EPR_."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from evenkeel_permissions.redaction import Redactor
from evenkeel_permissions.settings.api import ApiSettings
from evenkeel_permissions.settings.common import CommonSettings
from evenkeel_permissions.settings.worker import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

__all__ = ["ApiSettings", "CommonSettings", "ConfigurationError", "WorkerSettings", "load", "unknown"]

_S = TypeVar("_S", bound=CommonSettings)
_MAX_SHOWN = 80
_WORDS = {
    "int_parsing": "not a whole number",
    "float_parsing": "not a number",
    "bool_parsing": "neither true nor false",
    "literal_error": "not one of {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "missing": "is not set",
}


class ConfigurationError(Exception):
    """Every error of the configuration, one per line, without secret values."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(kind: type[_S]) -> _S:
    """Read the environment; raises ConfigurationError."""
    try:
        settings = kind()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        problems = [_line(kind, problem) for problem in error.errors(include_url=False)]
        raise ConfigurationError(problems) from None
    if problems := settings.problems():
        raise ConfigurationError(problems)
    return settings


def unknown(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return a line for each variable that looks like a setting and is read by neither command."""
    known = {variable for kind in (ApiSettings, WorkerSettings) for variable in kind.variables()}
    lines = []
    for name in sorted(environ):
        if name.startswith(CommonSettings.PREFIX) and name not in known:
            alike = difflib.get_close_matches(name, known, 1)
            lines.append(f"{name}: is not read" + (f"; did you mean {alike[0]}?" if alike else ""))
    return lines


def _line(kind: type[CommonSettings], problem: ErrorDetails) -> str:
    place = str(problem["loc"][0])
    # pydantic names a field by its name or by its alias.
    name = place if place in kind.model_fields else place.lower().removeprefix(CommonSettings.PREFIX.lower())
    field = kind.model_fields.get(name)
    variable = kind.variable(name) if field else place.upper()
    within = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"][1:])
    if problem["type"] == "value_error":
        return f"{variable}{within}: " + problem["msg"].removeprefix("Value error, ")
    text = problem["msg"]
    if problem["type"] in _WORDS:
        text = _WORDS[problem["type"]].format(**problem.get("ctx", {}))
    given = problem["input"]
    shown = ""
    if field and field.repr and isinstance(given, (str, int, float)):
        shown = f"={Redactor().text(str(given))[:_MAX_SHOWN]}"
    return f"{variable}{within}{shown}: {text}"
