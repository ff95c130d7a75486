# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unambiguous paths, as a regular expression for HAProxy (PCRE2) and Python.

The gateway decides by the path as received and forwards it unchanged. That is only safe if the backend cannot interpret
it as another path, so whatever some program decodes, merges, resolves or cuts off is refused:

- empty segments, `.` and `..`; a backslash; `;` and what follows it in a segment (path parameters);
- an escape of a letter, digit, `-`, `.`, `_`, `/`, `\\` or control character, single or repeated: these are sent
  unescaped;
- `%` without an escape; escapes that are not UTF-8 in its shortest form; raw bytes beyond visible ASCII.
"""

from __future__ import annotations

_HEX = "[0-9A-Fa-f]"
_NEXT = "%[89ABab]" + _HEX  # a continuation byte
# Visible ASCII without # % / ; ? and the backslash.
_PLAIN = r'[!"$&-.0-:<->@-\[\]-~]'
_ASCII = "%(?:2[0-46-9A-Ca-c]|3[A-Fa-f]|40|5[BDEbde]|60|7[B-Eb-e])"
_PERCENT = f"%25(?!{_HEX}{{2}})"
_TWO = f"%(?:[Cc][2-9A-Fa-f]|[Dd]{_HEX}){_NEXT}"
_THREE = f"%(?:[Ee]0%[ABab]{_HEX}|[Ee][1-9A-CEFa-cef]{_NEXT}|[Ee][Dd]%[89]{_HEX}){_NEXT}"
_FOUR = f"%(?:[Ff]0%[9ABab]{_HEX}|[Ff][1-3]{_NEXT}|[Ff]4%8{_HEX}){_NEXT}{_NEXT}"
_SEGMENT = rf"(?!\.\.?(?:/|$))(?:{_PLAIN}++|{_ASCII}|{_PERCENT}|{_TWO}|{_THREE}|{_FOUR})++"

# Possessive: long paths take no stack.
PLAIN_PATH = f"^(?=/)(?:/{_SEGMENT})*+/?+$"
