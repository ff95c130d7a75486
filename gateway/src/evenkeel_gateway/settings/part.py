# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base class of the parts of the settings, and shared validators."""

from __future__ import annotations

import re
import ssl
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, InstanceOf
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from evenkeel_gateway.settings.layers import Layers, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Network = IPv4Network | IPv6Network
_T = TypeVar("_T")

_FILE = re.compile(r"/[A-Za-z0-9._/-]+")


class Part(BaseSettings):
    """A group of settings. `problems` returns contradictions between variables, one line each."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    layers: InstanceOf[Layers] = Field(default_factory=Layers, exclude=True, repr=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _LayersSource(settings_cls, init_settings().get("layers") or read())

    def problems(self) -> list[str]:
        return []


class _LayersSource(EnvSettingsSource):
    def __init__(self, settings_cls: type[BaseSettings], layers: Layers) -> None:
        self._layers = layers
        super().__init__(settings_cls)

    def _load_env_vars(self) -> dict[str, str | None]:
        return {name.lower(): value for name, value in self._layers.values.items()}

    def __call__(self) -> dict[str, Any]:
        return super().__call__() | {"layers": self._layers}


def words(value: object) -> object:
    """Read a list of words from a variable, separated by commas or spaces."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def check_each(values: Iterable[_T], check: Callable[[_T], object]) -> None:
    """Raise ValueError with one line for each value that `check` refuses."""
    problems = []
    for value in values:
        try:
            check(value)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def networks(value: object) -> object:
    """Read networks from a variable; the error names each invalid one."""
    names = words(value)
    if isinstance(names, tuple):
        check_each(names, _network)
    return names


def _network(text: object) -> None:
    if not isinstance(text, str):
        return
    try:
        ip_network(text)
    except ValueError:
        try:
            whole = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not a network like 10.0.0.0/8 or 2001:db8::/32") from None
        raise ValueError(f"{text!r} has host bits set; did you mean {whole}?") from None


def file_path(value: str) -> str:
    """Return the path if HAProxy's configuration can hold it: no quote, no space."""
    if not _FILE.fullmatch(value):
        raise ValueError(f"{value!r} is not an absolute path of letters, digits and . _ / -")
    return value


def authorities_problem(path: str) -> str | None:
    """Return what is wrong with a file of CA certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"{path}: contains no certificate in PEM format"
    except OSError as error:
        return f"{path}: can't be read: {error.strerror}"
    return None
