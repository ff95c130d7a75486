# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes in a valid configuration: --check prints them, a starting gateway logs them."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from evenkeel_gateway.haproxy.render import CONTROL_PATHS
from evenkeel_gateway.settings import Settings
from evenkeel_gateway.settings.aliases import ALIASES, GUNICORN, WITHOUT_EFFECT
from evenkeel_gateway.tokens.keys import KEY_NAMES, TokenKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALIKE = 0.88
_SHORTEST = 5
_QUOTED = re.compile(r"(?s)([\"']).+\1")
_SERVICE_URL = "SERVICE_URL"
# No other program's variables begin like this.
_OURS = re.compile(r"(RATE_LIMIT|CIRCUIT|CORS|JWKS|LEASE|PURGE|TRUSTED)_")


def start_problems(settings: Settings) -> list[str]:
    """Return what would keep a running gateway from being ready."""
    problems = []
    jwks = settings.jwks
    if jwks.file:
        try:
            jwks.read()
        except TokenKeyError as error:
            problems.append(str(error))
    stored = settings.aws_secret_arn or settings.aws_ssm_prefix
    if not (jwks or stored or settings.public_keys or any(settings.layers.values.get(name) for name in KEY_NAMES)):
        problems += [
            f"ROUTES: {route.title}: requires tokens, but no key to verify them is configured; set JWT_SECRET, "
            "JWT_PUBLIC_KEY, JWKS_URL or JWKS_FILE"
            for route in settings.routes
            if settings.auth_of(route) != "none"
        ]
    return problems


def mistakes(settings: Settings) -> list[str]:
    """Return variables that are not read, and routes that are never reached."""
    hidden = [
        f"ROUTES: {route.title}: the gateway answers {route.prefix} itself; this route only receives the paths below it"
        for route in settings.routes
        if route.prefix in CONTROL_PATHS and route.prefix != "/"
    ]
    return [*_misspelt(settings), *hidden]


def advice(settings: Settings) -> list[str]:
    """Return warnings about what the gateway can't verify."""
    quoted = [
        f"{name}: the quotes are part of the value; docker's --env-file keeps quotes that a .env file removes"
        for name, value in sorted(settings.layers.values.items())
        if _QUOTED.fullmatch(value) and (name.lower() in Settings.model_fields or name in KEY_NAMES)
    ]
    if settings.laptop or "shutdown_delay_seconds" in settings.model_fields_set:
        return quoted
    seconds = settings.shutdown_delay_seconds
    return [
        *quoted,
        (
            f"SHUTDOWN_DELAY_SECONDS: not set, and the default of {seconds:g} s is too short for most load balancers; "
            "set it to their health check interval times the unhealthy threshold, or to the time that a change of "
            "endpoints takes to propagate"
        ),
    ]


def other_names(settings: Settings) -> list[str]:
    """Return warnings about variables under Gunicorn's names."""
    values = {name.upper() for name in settings.layers.values}
    lines = []
    for name in sorted(values):
        if name in WITHOUT_EFFECT:
            lines.append(f"{name}: Gunicorn's, without effect: {WITHOUT_EFFECT[name]}")
        elif name in GUNICORN and GUNICORN[name] in values:
            lines.append(f"{name}: Gunicorn's name, not read, as {GUNICORN[name]} is set; remove it")
        elif name in GUNICORN:
            lines.append(f"{name}: Gunicorn's name, read as {GUNICORN[name]}; rename it")
    return lines


def _misspelt(settings: Settings) -> Iterator[str]:
    known = {name.upper() for name in Settings.model_fields if name != "layers"}
    exact = {*KEY_NAMES, *settings.wanted_secrets}
    aliases = {alias for others in ALIASES.values() for alias in others}
    for name in sorted(settings.layers.values):
        upper = name.upper()
        if name in exact or upper in known or upper in aliases or upper in WITHOUT_EFFECT or _is_service_url(upper):
            continue
        meant = upper if upper in exact else _meant(upper, known | exact)
        if meant:
            yield f"{name}: is not read; did you mean {meant}?"


def _is_service_url(name: str) -> bool:
    return name.endswith("_" + _SERVICE_URL)


def _meant(name: str, known: set[str]) -> str | None:
    if len(name) < _SHORTEST:
        return None
    for length in (len(_SERVICE_URL) - 1, len(_SERVICE_URL), len(_SERVICE_URL) + 1):
        head, tail = name[:-length], name[-length:]
        if head.endswith("_") and len(head) > 1 and difflib.SequenceMatcher(None, tail, _SERVICE_URL).ratio() > 0.9:  # noqa: PLR2004
            return head + _SERVICE_URL
    alike = 0.6 if _OURS.match(name) else _ALIKE
    return next(iter(difflib.get_close_matches(name, sorted(known), 1, alike)), None)
