# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who calls, and what the caller may do: a gateway's claims headers from a trusted peer, or a bearer token."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from evenkeel_permissions.api.problems import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

    from evenkeel_permissions.settings import ApiSettings

_MAX_NAME = 256


@dataclass(frozen=True)
class Caller:
    name: str
    scopes: frozenset[str]


class Authentication:
    def __init__(self, settings: ApiSettings) -> None:
        self._peers = settings.auth_trusted_peers
        self._user, self._scopes = settings.auth_user_header, settings.auth_scopes_header
        # Digests of equal length, so that the comparison takes the same time for every token.
        self._tokens = [
            (_digest(client.token), Caller(client.name, frozenset(client.scopes))) for client in settings.api_tokens
        ]

    def require(self, request: Request, scope: str) -> Caller:
        """Raise ProblemError: 401 where the caller is not known, 403 where the scope is missing."""
        caller = self._caller(request)
        if scope not in caller.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise ProblemError(403, f"the scope {scope} is required", {"WWW-Authenticate": challenge})
        return caller

    def _caller(self, request: Request) -> Caller:
        users = request.headers.getlist(self._user)
        if users and self._trusted(request):
            scopes = request.headers.getlist(self._scopes)
            # The gateway sends each header once. Two come from a client that the gateway did not stop.
            if len(users) > 1 or len(scopes) > 1 or not 0 < len(users[0]) <= _MAX_NAME:
                raise _unauthorized(f"{self._user} and {self._scopes} must be sent once", "invalid_request")
            return Caller(users[0], frozenset(_words(scopes[0] if scopes else "")))
        given = request.headers.getlist("Authorization")
        if not given:
            raise _unauthorized("a bearer token is required", "")
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not token:
            raise _unauthorized("one Authorization header with a bearer token is required", "invalid_request")
        digest = _digest(token.strip())
        found = [caller for known, caller in self._tokens if hmac.compare_digest(known, digest)]
        if not found:
            raise _unauthorized("the bearer token is not known", "invalid_token")
        return found[0]

    def _trusted(self, request: Request) -> bool:
        """The address of the connection itself; forwarded addresses don't count."""
        try:
            address = ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._peers if network.version == address.version)


def _words(text: str) -> list[str]:
    """The gateway forwards a claim that is a list as JSON, and one that is a text as it is."""
    return text.replace("[", " ").replace("]", " ").replace('"', " ").replace(",", " ").split()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _unauthorized(detail: str, error: str) -> ProblemError:
    return ProblemError(401, detail, {"WWW-Authenticate": f'Bearer error="{error}"' if error else "Bearer"})
