# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JWT rules: the expressions and patterns that the template authentication.cfg.j2 needs, each a quoted word.

HAProxy 2.6 reads no arrays from a token (json_query returns nothing for them), so patterns do: they match whole members
of the JSON object from its start, and so never mistake a nested or quoted text for a claim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evenkeel_gateway.haproxy.quoting import argument, word

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from evenkeel_gateway.settings import Settings
    from evenkeel_gateway.tokens import Key, Keys

_BEARER = r"^(?i:bearer) +[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$"
# Would be lost on the way to the backend, or end a header: two users could become one.
_UNFIT = r"^\s|\s$|[[:cntrl:]]"
_STRING = r'"(?>[^"\\]++|\\.)*+"'
# (?&v) is a value, (?&m) a member of an object with its comma.
_GRAMMAR = (
    rf"(?(DEFINE)(?<v>{_STRING}|[\[{{](?>[^\"\[\]{{}}]++|(?&v))*+[\]}}]|[^\s\[\]{{}},:\"]++)"
    rf"(?<m>\s*+{_STRING}\s*+:\s*+(?&v)\s*+,))"
)
# RFC 4648, section 3.5: unused bits of the last character are zero. RFC 7518, section 3.4: R and S have the length of
# the curve; HAProxy would accept any two halves.
_BASE64URL = "(?>(?:[A-Za-z0-9_-]{4})*)(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
_SIGNATURES = {
    "[HR]S[0-9]+": _BASE64URL,
    "ES256": "[A-Za-z0-9_-]{85}[AQgw]",
    "ES384": "[A-Za-z0-9_-]{128}",
    "ES512": "[A-Za-z0-9_-]{176}",
}
_SPACE = r"[ \t\r\n]*+"
# In names visible ASCII is not escaped, except for what some writers always escape.
_ESCAPE = r'\\(?:["\\bfnrt]|u(?!00[2-7])[0-9A-Fa-f]{4}|u00(?:2[267]|3[C-Ec-e]))'
# A slash is escaped either in all names or in none.
_NAMES = (rf'"(?>[^"\\]++|{_ESCAPE})*+"', rf'"(?>[^"\\/]++|\\/|{_ESCAPE})*+"')
_TIME = rf"(?:(?:0|[1-9][0-9]{{0,15}})(?:\.[0-9]+)?|null){_SPACE}[,}}]"
_FIRST_GROUP = "\\1"
_ELEMENTS = r"\[\s*+(?:(?&v)\s*+,\s*+)*?"


@dataclass(frozen=True)
class KeyCheck:
    """One key: the expression that verifies a token with it, and for which tokens."""

    expression: str
    algorithms: str
    kid: str | None


@dataclass(frozen=True)
class RequiredClaim:
    name: str
    acl: str
    query: str
    pattern: str


@dataclass(frozen=True)
class Claim:
    variable: str
    acl: str
    query: str
    array_pattern: str
    array: str
    """The expression that returns an array as text."""
    header: str | None


@dataclass(frozen=True)
class ScopedRoute:
    routes: str
    wanted: str
    scopes: tuple[str, ...]
    """The ACLs that must match."""


@dataclass(frozen=True)
class Authentication:
    """`routes` is empty when no route verifies tokens: then no rules are rendered."""

    routes: str
    optional: str
    token: str
    unfit: str
    stripped: str
    """Alternatives of a pattern; may be empty."""
    ready: bool
    canonical: str
    plain_heads: tuple[str, ...]
    """Patterns of which one matches an unambiguous JOSE header; `plain_claims` likewise."""
    plain_claims: tuple[str, ...]
    algorithms: str
    kids: str
    checks: tuple[KeyCheck, ...]
    leeway: int
    times: dict[str, str]
    issuers: str
    issuer_pattern: str
    audiences: str
    audience_pattern: str
    required_claims: tuple[RequiredClaim, ...]
    expires: bool
    claims: tuple[Claim, ...]
    user: str
    user_pattern: str
    """Matches if there is a user, whether or not HAProxy can read the name."""
    scope_patterns: dict[str, tuple[str, ...]]
    scoped: tuple[ScopedRoute, ...]


def authentication(settings: Settings, keys: Keys, folder: Path) -> Authentication:
    keys = keys.only(settings.auth_algorithms)
    claims = _claims(settings)
    scopes = list(dict.fromkeys(scope for route in settings.routes for scope in route.scopes))
    names = {scope: f"jwt_scope{number}" for number, scope in enumerate(scopes)}
    return Authentication(
        routes=_words(route.name for route in settings.routes if settings.auth_of(route) != "none"),
        optional=_words(route.name for route in settings.routes if settings.auth_of(route) == "optional"),
        token=word(_BEARER),
        unfit=word(_UNFIT),
        stripped=_stripped(settings.auth_claim_headers.values()),
        ready=bool(keys),
        canonical=word(_canonical()),
        plain_heads=tuple(word(_plain(name)) for name in _NAMES),
        plain_claims=tuple(word(_plain(name, _times())) for name in _NAMES),
        algorithms=_words(settings.auth_algorithms),
        kids=_words(keys.kids),
        checks=tuple(_check(key, folder) for key in keys.keys),
        times={claim: word(_present(claim)) for claim in ("exp", "nbf")},
        leeway=settings.auth_leeway_seconds,
        issuers=_words(settings.auth_issuers),
        issuer_pattern=word(_has("iss", settings.auth_issuers)),
        audiences=_words(settings.auth_audiences),
        audience_pattern=word(_has("aud", settings.auth_audiences)),
        required_claims=tuple(
            RequiredClaim(claim, f"jwt_has{number}", _query(claim), word(_present(claim)))
            for number, claim in enumerate(settings.auth_required_claims)
        ),
        expires="exp" in settings.auth_required_claims,
        claims=tuple(claims.values()),
        user=claims[settings.auth_user_claim].variable,
        user_pattern=word(_present(settings.auth_user_claim)),
        scope_patterns={
            names[scope]: tuple(word(_has_scope(claim, scope)) for claim in settings.auth_scope_claims)
            for scope in scopes
        },
        scoped=tuple(
            ScopedRoute(
                word(route.name),
                word(f"str({argument(' '.join(route.scopes))})"),
                tuple(names[scope] for scope in route.scopes),
            )
            for route in settings.routes
            if route.scopes
        ),
    )


def _claims(settings: Settings) -> dict[str, Claim]:
    wanted = dict.fromkeys((settings.auth_user_claim, *settings.auth_claim_headers))
    return {
        claim: Claim(
            f"req.claim{number}",
            f"jwt_claim{number}",
            _query(claim),
            word(_is_array(claim)),
            word(_array(claim)),
            settings.auth_claim_headers.get(claim),
        )
        for number, claim in enumerate(wanted)
    }


def _check(key: Key, folder: Path) -> KeyCheck:
    name = argument(key.material.decode("latin-1") if key.secret else f"{folder}/{key.file}")
    expression = f"var(req.token),jwt_verify(req.alg,{name})"
    return KeyCheck(
        word(expression.encode("latin-1")), _words(key.algorithms), None if key.kid is None else word(key.kid)
    )


def _stripped(headers: Iterable[str]) -> str:
    """Match the headers in every spelling: many backends treat X-User-Id and X_USER_ID alike."""
    return "|".join(f"(?i:{'[^a-z0-9]'.join(header.split('-'))})" for header in headers)


def _canonical() -> str:
    """Match `ALGORITHM.token` if all three parts of the token are canonical base64url."""
    kinds = (rf"{name}\.{_BASE64URL}\.{_BASE64URL}\.{signature}" for name, signature in _SIGNATURES.items())
    return rf"\A(?:{'|'.join(kinds)})\z"


def _times() -> str:
    """Match if exp and nbf are decimal numbers or absent."""
    return "".join(rf"(?!\{{{_member(name)}{_SPACE}(?!{_TIME}))" for name in ('"exp"', '"nbf"'))


def _member(name: str) -> str:
    """Match up to the first member of this name, without backtracking."""
    found = f"{_SPACE}{name}{_SPACE}:"
    return f"(?:(?!{found})(?&m))*+{found}"


def _plain(name: str, also: str = "") -> str:
    """Match a JSON object without duplicate or escaped names.

    It matches valid texts, so that one which exceeds the matcher's limits is refused.
    """
    again = _member(r"\k<n>")
    return (
        rf"\A{also}(?&o){_SPACE}\z(?(DEFINE)"
        rf"(?<k>{_STRING}|[\[{{](?>[^\"\[\]{{}}]++|(?&k))*+[\]}}]|[^\s\[\]{{}},:\"]++)"
        rf"(?<m>{_SPACE}{_STRING}{_SPACE}:{_SPACE}(?&k){_SPACE},)"
        rf"(?<v>(?&o)|\[{_SPACE}(?:(?&v){_SPACE}(?:,{_SPACE}(?!\])|(?=\])))*+\]|{_STRING}|[-+.0-9A-Za-z]++)"
        rf"(?<o>\{{{_SPACE}(?:(?<n>{name}){_SPACE}:{_SPACE}(?&v){_SPACE}"
        rf'(?:,{_SPACE}(?=")(?!{again})|(?=\}})))*+\}}))'
    )


def _path(claim: str) -> list[str]:
    return [claim] if claim.startswith(("http://", "https://")) else claim.split(".")


def _query(claim: str) -> str:
    """Return the query; without `int` HAProxy returns 12345678 as 1.23457e+07."""
    names = ".".join(name.replace(".", "\\.") for name in _path(claim))
    return word(f"var(req.claims),json_query({argument('$.' + names)},int)")


def _at(claim: str) -> str:
    return r"(?s)^\s*+" + "".join(rf'\{{(?:(?&m))*?\s*+"{_literal(name)}"\s*+:\s*+' for name in _path(claim))


def _literal(text: str) -> str:
    """Match a text in JSON, where a slash may be escaped."""
    return re.escape(text).replace("/", r"\\?/")


def _any(texts: Iterable[str]) -> str:
    return "(?:" + "|".join(map(_literal, texts)) + ")"


def _present(claim: str) -> str:
    return _at(claim) + "(?!null)" + _GRAMMAR


def _has(claim: str, texts: Iterable[str]) -> str:
    return f'{_at(claim)}(?:{_ELEMENTS})?"{_any(texts)}"{_GRAMMAR}'


def _has_scope(claim: str, scope: str) -> str:
    """Match the scope in a space-separated list (RFC 8693) or in an array."""
    name = _literal(scope)
    return rf'{_at(claim)}(?:{_ELEMENTS}"{name}"|"(?:[^"\\ ]++ ++)*?{name}[ "]){_GRAMMAR}'


def _is_array(claim: str) -> str:
    return rf"{_at(claim)}\[{_GRAMMAR}"


def _array(claim: str) -> str:
    pattern = rf'{_at(claim)}(\[(?>[^"\[\]{{}}]++|(?&v))*+\]).*$' + _GRAMMAR
    # JSON allows line ends between elements, a header does not.
    one_line = f"regsub({argument('[[:cntrl:]]+')},{argument('')},g)"
    return f"var(req.claims),regsub({argument(pattern)},{argument(_FIRST_GROUP)}),{one_line}"


def _words(texts: Iterable[str]) -> str:
    return " ".join(map(word, texts))
