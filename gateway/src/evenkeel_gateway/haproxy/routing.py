# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Computes the route of every request beforehand, as maps that HAProxy looks up.

`routes.map` has an entry for each host and prefix of a route; the longest match counts. If all methods go to the same
route, it is that route's name. Otherwise it is a crossing: `methods.map` has the route for the crossing and the method,
or for the crossing alone for all other methods; without either, `allow.map` has the allowed methods.

`folded.map` is `routes.map` in lower case: where the two differ, a path is ambiguous for case-insensitive programs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from evenkeel_gateway.settings import Route

CROSSING = "crossing:"


@dataclass
class _MethodRoutes:
    """The routes of a host and prefix: by method, and for all other methods."""

    methods: dict[str, str] = field(default_factory=dict)
    rest: str | None = None


def maps(routes: tuple[Route, ...]) -> dict[str, str]:
    """Return the maps by file name."""
    places, methods, allowed = [], [], []
    for number, (host, prefix) in enumerate(sorted(_places(routes))):
        choice = _choose(routes, host, prefix)
        key = f"{host}{prefix.rstrip('/')}/"
        if not choice.methods:
            places.append((key, choice.rest))
            continue
        crossing = f"{CROSSING}{number}"
        places.append((key, crossing))
        methods += [(f"{crossing}:{method}", name) for method, name in choice.methods.items()]
        if choice.rest:
            methods.append((crossing, choice.rest))
        else:
            allowed.append((crossing, ", ".join(sorted(choice.methods))))
    return {
        "routes.map": _text(places),
        "folded.map": _text((key.lower(), name) for key, name in places),
        "methods.map": _text(methods),
        "allow.map": _text(allowed),
    }


def _places(routes: tuple[Route, ...]) -> set[tuple[str, str]]:
    """Return each host and prefix; hosts with routes of their own also have the routes for any host."""
    hosts = {route.host or "" for route in routes} | {""}
    return {(host, route.prefix) for host in hosts for route in routes if route.host is None or route.host == host}


def _choose(routes: tuple[Route, ...], host: str, prefix: str) -> _MethodRoutes:
    """Choose routes of the host first, then longer prefixes, then those with methods."""
    able = [route for route in routes if route.host in (None, host) and _covers(route.prefix, prefix)]
    able.sort(key=lambda route: (route.host is None, -len(route.prefix), not route.methods))
    choice = _MethodRoutes()
    for route in able:
        if not route.methods:
            choice.rest = route.name
            break
        for method in route.methods:
            choice.methods.setdefault(method, route.name)
    if set(choice.methods.values()) == {choice.rest}:
        choice.methods.clear()
    return choice


def _covers(prefix: str, path: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{prefix.rstrip('/')}/")


def _text(entries: Iterable[tuple[str, str | None]]) -> str:
    return "".join(f"{key} {value}\n" for key, value in entries)
