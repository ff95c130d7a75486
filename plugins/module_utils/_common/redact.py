# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove secrets from output of other programs."""

from __future__ import annotations

import re

from .secrecy import is_secret

HIDDEN = "(hidden)"
# A lookahead, because a search within the name takes quadratic time on a long word.
NAME = r"(?=[\w.-]*(?:passw(?:or)?d|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential))[\w.-]+"
# An ARN names a secret but is none. It may have the word between its colons.
HARMLESS = r"(?:\w+=)?arn:|\(hidden\)|(?:null|none|true|false)\b"
PATTERNS = (
    (r"(\b\w+://[^\s:/@]*:)(?!\d{1,5}/)[^\s@]+(@)", rf"\1{HIDDEN}\2"),
    (r"(?i)\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}", HIDDEN),
    (r"\beyJ[\w-]{8,}(?:\.[\w-]+){1,2}", HIDDEN),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", HIDDEN),
)
NAMED = re.compile(rf"(?i)(?<![:\w.-])(\"?)({NAME})(\"?\s*[:=]\s*\"?)(?!{HARMLESS})([^\s\",;}}]+)")


def redacted(text: str) -> str:
    for pattern, replacement in PATTERNS:
        text = re.sub(pattern, replacement, text)
    return NAMED.sub(_hide_named, text)


def _hide_named(found: re.Match[str]) -> str:
    before, name, between, value = found.groups()
    return f"{before}{name}{between}{HIDDEN if is_secret(name, value) else value}"


def secrets(environment: dict[str, str]) -> set[str]:
    """The values of environment variables that must not be shown."""
    shown = shown_environment(environment)
    return {value for name, value in environment.items() if value and shown[name] != value}


def shown_environment(environment: dict[str, str]) -> dict[str, str]:
    """Environment variables for a diff: what looks like a secret by its name or form is hidden."""
    return {name: _shown(name, value) for name, value in environment.items()}


def _shown(name: str, value: str) -> str:
    if not is_secret(name, value):
        return value
    without = redacted(value)
    # In a URL, only the password is hidden, so that the host stays readable.
    return without if without != value and not is_secret(name, without.replace(HIDDEN, "")) else HIDDEN
