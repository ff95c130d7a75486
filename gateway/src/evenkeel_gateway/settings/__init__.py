# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All settings, typed and validated in one place."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from evenkeel_gateway import __version__
from evenkeel_gateway.redaction import Redactor
from evenkeel_gateway.settings.aliases import ALIASES, names_of
from evenkeel_gateway.settings.authentication import Auth, AuthSettings
from evenkeel_gateway.settings.aws import AwsSettings
from evenkeel_gateway.settings.cache import CacheSettings
from evenkeel_gateway.settings.circuit import CircuitSettings
from evenkeel_gateway.settings.cors import CorsSettings
from evenkeel_gateway.settings.database import DatabaseSettings
from evenkeel_gateway.settings.election import ElectionSettings
from evenkeel_gateway.settings.jobs import JobSettings
from evenkeel_gateway.settings.layers import DEFAULT_ENVIRONMENT, Layers, read
from evenkeel_gateway.settings.limits import LimitSettings
from evenkeel_gateway.settings.part import Part
from evenkeel_gateway.settings.pod import PodSettings
from evenkeel_gateway.settings.proxy import ProxySettings
from evenkeel_gateway.settings.redis import RedisSettings
from evenkeel_gateway.settings.routes import Route

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["ConfigurationError", "Route", "Settings", "describe", "load"]


class ProcessSettings(Part):
    node_env: str = DEFAULT_ENVIRONMENT
    config_dir: str | None = None
    config_watch_seconds: float = Field(default=2.0, ge=0)
    is_local: bool = False
    port: int = Field(default=3000, ge=1, le=65535)
    service_name: str = "bk-gateway-api"
    gateway_version: str = __version__
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_delay_seconds: float = Field(default=1.0, ge=0)
    shutdown_grace_seconds: float = Field(default=25.0, gt=0, validation_alias=names_of("SHUTDOWN_GRACE_SECONDS"))
    reload_grace_seconds: float = Field(default=3600.0, gt=0)
    runtime_dir: str | None = None

    def problems(self) -> list[str]:
        twice = [
            f"{name}: set to two different values in {source}, once with '_' and once with '__'"
            for name, source in self.layers.twice.items()
            if name.lower() in Settings.model_fields
        ]
        return [*self.layers.problems, *twice]

    @property
    def laptop(self) -> bool:
        return self.is_local or self.node_env != "production"


_PARTS: tuple[type[Part], ...] = (
    ProcessSettings,
    AwsSettings,
    DatabaseSettings,
    ElectionSettings,
    JobSettings,
    PodSettings,
    ProxySettings,
    AuthSettings,
    RedisSettings,
    LimitSettings,
    CorsSettings,
    CacheSettings,
    CircuitSettings,
)


class Settings(
    ProcessSettings,
    AwsSettings,
    DatabaseSettings,
    ElectionSettings,
    JobSettings,
    PodSettings,
    ProxySettings,
    AuthSettings,
    LimitSettings,
    CorsSettings,
    CacheSettings,
    CircuitSettings,
):
    @model_validator(mode="after")
    def _check(self) -> Settings:
        problems = self.problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def problems(self) -> list[str]:
        problems = [problem for part in _PARTS for problem in part.problems(self)]
        if not self.laptop and not self.has_database:
            problems.append(
                "AWS_DB_SECRET_ARN: not set, and neither DATABASE_URL nor DB_HOST is. Without a database each instance "
                "would be a leader of its own; set IS_LOCAL=true for a single instance on a laptop"
            )
        if self.uses_tokens:
            problems += self.key_problems()
        problems += [
            f"ROUTES: {route.prefix}: scopes need `auth: required`"
            for route in self.routes
            if route.scopes and self.auth_of(route) != "required"
        ]
        if not self.database_url and not self.aws_db_secret_arn and self.db_host and not self.db_username:
            problems.append("DB_USERNAME: required with DB_HOST")
        return problems

    def auth_of(self, route: Route) -> Auth:
        return route.auth or self.auth_default

    @property
    def uses_tokens(self) -> bool:
        return any(self.auth_of(route) != "none" for route in self.routes)

    @property
    def has_database(self) -> bool:
        return bool(self.aws_db_secret_arn or self.database_url or self.db_host)

    @property
    def wanted_secrets(self) -> tuple[str, ...]:
        if self.required_secrets:
            return self.required_secrets
        return ("JWT_SECRET",) if self.aws_secret_arn or self.aws_ssm_prefix or not self.laptop else ()


class ConfigurationError(Exception):
    """Every error of the configuration, one per line, without secret values."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load() -> Settings:
    """Read the files and the environment; raises ConfigurationError."""
    layers = read()
    try:
        return Settings(layers=layers)
    except ValidationError as error:
        problems = describe(error)
        broken = {str(problem["loc"][0]).upper() for problem in error.errors() if problem["loc"]}
    if broken:
        # Contradictions between variables are only checked once every value is valid.
        try:
            Settings(layers=layers.without({*broken, *(alias for name in broken for alias in ALIASES.get(name, ()))}))
        except ValidationError as error:
            problems += [line for line in describe(error) if line.partition(":")[0] not in broken]
    raise ConfigurationError([_as_set(line, layers) for line in dict.fromkeys(problems)])


def _as_set(line: str, layers: Layers) -> str:
    """Return the line with the variable under the name that was set."""
    found = _VARIABLE.match(line)
    if found and found[0] not in layers.values:
        for alias in ALIASES.get(found[0], ()):
            if alias in layers.values:
                return alias + line.removeprefix(found[0])
    return line


_WORDS = {
    "int_parsing": "not a whole number",
    "int_from_float": "not a whole number",
    "float_parsing": "not a number",
    "bool_parsing": "neither true nor false",
    "literal_error": "not one of {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "does not match {pattern}",
    "missing": "is missing",
}
_MAX_SHOWN = 80
_VARIABLE = re.compile(r"[A-Z_]+")


def describe(error: ValidationError) -> list[str]:
    """Return one line for each problem: the variable, its value unless secret, and the reason."""
    return [line for problem in error.errors(include_url=False) for line in _lines(problem)]


def _lines(problem: ErrorDetails) -> list[str]:
    place = [str(part) for part in problem["loc"]]
    variable = ".".join(place).upper()
    if problem["type"] == "value_error":  # our own texts, which already quote the value
        texts = problem["msg"].removeprefix("Value error, ").splitlines()
        return [f"{variable}: {text}" if variable else text for text in texts]
    if problem["type"] == "extra_forbidden" and place[0] == "routes":
        alike = difflib.get_close_matches(place[-1], Route.model_fields, 1)
        return [f"{variable}: a route has no such setting" + (f"; did you mean {alike[0]}?" if alike else "")]
    text = problem["msg"]
    if problem["type"] in _WORDS:
        text = _WORDS[problem["type"]].format(**problem.get("ctx", {}))
    return [f"{variable}{_shown(place[0], problem['input'])}: {text}"]


def _shown(name: str, value: Any) -> str:
    field = Settings.model_fields.get(name)
    if not isinstance(value, (str, int, float)) or (field and not field.repr):
        return ""
    return f"={str(Redactor().field(name, str(value)))[:_MAX_SHOWN]}"
