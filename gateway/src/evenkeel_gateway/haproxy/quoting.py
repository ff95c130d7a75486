# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any text as exactly one word of HAProxy's configuration, or as one argument of a converter in it."""

from __future__ import annotations


def word(text: str | bytes) -> str:
    """Quote for the line. A byte of zero can't be in one."""
    data = text.encode() if isinstance(text, str) else text
    if data.isascii() and data.decode().isprintable() and b"'" not in data:
        return f"'{data.decode()}'"
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\x{byte:02x}" for byte in data)


def argument(text: str) -> str:
    """Quote for the brackets of a fetch or converter; the whole expression then still has to become a word."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
