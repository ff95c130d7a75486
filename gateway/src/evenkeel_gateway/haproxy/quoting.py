# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes any text as one word of HAProxy's configuration, or as one argument of a converter."""

from __future__ import annotations


def word(text: str | bytes) -> str:
    """Quote a word of a line; it must not contain a NUL byte."""
    data = text.encode() if isinstance(text, str) else text
    if data.isascii() and data.decode().isprintable() and b"'" not in data:
        return f"'{data.decode()}'"
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\x{byte:02x}" for byte in data)


def argument(text: str) -> str:
    """Quote an argument of a fetch or converter; the whole expression still needs `word`."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
