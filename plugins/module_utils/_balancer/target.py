# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target by the name that callers give."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from .._common.progress import OperationError

# What the modules on one target share, with how they require it.
OPTIONS: dict[str, dict[str, Any]] = {
    "balancer": {"type": "str", "choices": ["target_group", "haproxy"], "default": "target_group"},
    "target": {"type": "str", "required": True},
    "target_groups": {"type": "list", "elements": "str", "aliases": ["target_group"]},
    "sockets": {"type": "list", "elements": "str"},
    "backends": {"type": "list", "elements": "str", "default": []},
}
REQUIRED_IF = [("balancer", "target_group", ["target_groups"]), ("balancer", "haproxy", ["sockets"])]


@dataclass(frozen=True)
class Target:
    """An instance id or an address; without a port, wherever it is registered in a group."""

    id: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read id, id:port, address, address:port or [address]:port; OperationError where it is none of these."""
        match = re.fullmatch(r"(i-[0-9a-f]{8,17}|[\d.]+|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?", text.strip())
        identifier, port = match.groups() if match else (text.strip(), None)
        target = cls(identifier.strip("[]"), int(port) if port else None)
        if not match or target.kind == "ip":
            try:
                ipaddress.ip_address(target.id)
            except ValueError:
                raise OperationError(
                    f"The target {text!r} is no instance id (i-…) and no address, with or without :port."
                ) from None
        return target

    @property
    def kind(self) -> str:
        return "instance" if self.id.startswith("i-") else "ip"
