# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that HAProxy verifies tokens with: their formats and sources."""

from evenkeel_gateway.tokens.keys import ALGORITHMS, Key, Keys, TokenKeyError

__all__ = ["ALGORITHMS", "Key", "Keys", "TokenKeyError"]
