# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which route takes a request, worked out beforehand, so that HAProxy has only to look it up.

`routes.map` knows every place where routes begin, a host and a prefix, and the longest one is found. Where all methods
go to the same route from there, that is its name. Otherwise it is a crossing, and `methods.map` knows the route by the
crossing and the method, or by the crossing alone for all others; with neither, `allow.map` says what would be allowed.

`folded.map` is `routes.map` for programs that know no case: where the two do not agree, a path has two readings.
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
    """Who takes what below a place: by method, and the rest."""

    methods: dict[str, str] = field(default_factory=dict)
    rest: str | None = None


def maps(routes: tuple[Route, ...]) -> dict[str, str]:
    """Return the texts of the maps by their file names."""
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
    """A host that has routes of its own also has those for every host."""
    hosts = {route.host or "" for route in routes} | {""}
    return {(host, route.prefix) for host in hosts for route in routes if route.host is None or route.host == host}


def _choose(routes: tuple[Route, ...], host: str, prefix: str) -> _MethodRoutes:
    """The host's own routes first, then the longer prefix, then the one that names the method."""
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
