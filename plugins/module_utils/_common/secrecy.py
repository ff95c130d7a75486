# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a named value is a secret, by form and name. The gateway has the same rules: tests/data/secrets.json."""

from __future__ import annotations

import re

# Of a password within a longer value, group 1 is the password.
WITHIN = (
    re.compile(r"\b\w+://[^\s:/@]*:(?!\d{1,5}/)([^\s@]+)@"),
    re.compile(r"(?i)\b(?:password|passwd|pwd|secret|token|sig|signature)=([^\s&;,\"']+)"),
)
FORMS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk_live_|rk_live_|sk-)[\w-]{10,}"),
)
NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|secrets|token|tokens|credential|credentials|authorization|jwt"
    r"|(?:api|private|access|secret|signing|encryption|shared)_?keys?|pgpassword)(?:_|$)"
)
# What such a name is about where it ends, or begins, like this.
ABOUT = re.compile(
    r"_(?:arns?|files?|paths?|dir|names?|ids?|urls?|uri|hosts?|ports?|regions?|prefix|headers?|fields?|claims?|cookies?|types?"
    r"|algorithms?|issuers?|audiences?|leeway|ttl|ms|seconds|minutes|hours|days|intervals?|timeout|refresh|rotation|expiry"
    r"|expires|length|size|count|min|max|limit|enabled|required|policy|source|version|public_keys?)$"
    r"|^(?:required|wanted|missing)_|(?:^|_)public_keys?$|^pwd$"
)
# Values that look random but are not.
DIGEST = re.compile(r"(?:^|_)(?:digest|sha\d*|md5|checksum|fingerprint|commit|revision|hash|etag|version|image|ids?)$")
REFERENCE = re.compile(r"arn:|\{\{|\$\{|\(hidden\)")
ORDINARY = re.compile(r"(?i)(?:true|false|yes|no|on|off|none|null|)")
NAMES = re.compile(r"[A-Z][A-Z0-9_]*(?:[\s,]+[A-Z][A-Z0-9_]*)*")
PLACE = re.compile(r"\b\w+://\S+|(?<!\S)\.{0,2}/\S+|\barn:\S+|\b(?:sha\d+|md5):[0-9a-f]+")
HEXADECIMAL = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,}(?![0-9A-Za-z])")
PIECE = re.compile(r"[0-9A-Za-z+/]{16,}")


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a variable of this name must not be shown."""
    value = value.strip()
    if ORDINARY.fullmatch(value) or REFERENCE.match(value):
        return False
    if any(pattern.search(value) for pattern in (*WITHIN, *FORMS)):
        return True
    words = _words(name)
    if NAME.search(words) and not ABOUT.search(words) and not (words.endswith("secrets") and NAMES.fullmatch(value)):
        return True
    return not DIGEST.search(words) and _is_chance(value)


def _words(name: str) -> str:
    """Normalized: dbPassword, db-password and DB.PASSWORD become db_password."""
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _is_chance(value: str) -> bool:
    """Whether a part of it is random, as in keys and generated passwords."""
    rest = PLACE.sub(" ", value)
    return bool(HEXADECIMAL.search(rest)) or any(_is_mixed(piece) for piece in PIECE.findall(rest))


def _is_mixed(piece: str) -> bool:
    """Random text often changes between lower case, upper case and digits; words and numbers only at their ends."""
    kinds = ["0" if c.isdigit() else "a" if c.islower() else "A" for c in piece]
    changes = sum(one != other for one, other in zip(kinds, kinds[1:]))
    long_enough = len(piece) >= (16 if {"a", "A"} <= set(kinds) else 24)
    varied = len(set(piece)) > len(piece) / 4
    return "0" in kinds and long_enough and varied and changes >= 0.3 * len(piece)
