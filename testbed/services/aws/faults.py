# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults to inject into the API, and a record of its requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from werkzeug.wrappers import Request, Response

from .calls import Call, denied, error


@dataclass
class Faults:
    """Actions by service:action, such as elasticloadbalancing:RegisterTargets.

    Access keys say themselves how they fare: DENIED may do nothing, EXPIRED were good once. Else an action is denied
    where its request has a text in it ("" for all), and throttled calls are counted down.
    """

    account: str
    role: str
    denied: dict[str, str] = field(default_factory=dict)
    throttled: Counter[str] = field(default_factory=Counter)
    calls: list[str] = field(default_factory=list)

    def answer(self, call: Call, request: Request) -> Response | None:
        action = call.permission
        self.calls.append(action)
        if "EXPIRED" in call.access_key:
            code = "RequestExpired" if call.protocol == "ec2" else "ExpiredToken"
            return error(call, code, "The security token included in the request is expired")
        if "DENIED" in call.access_key:
            return denied(call, self.account, self.role)
        if action in self.denied and self.denied[action] in unquote_plus(request.get_data(as_text=True)):
            return denied(call, self.account, self.role)
        if self.throttled[action]:
            self.throttled[action] -= 1
            return error(call, "Throttling", "Rate exceeded")
        return None

    def forget(self) -> None:
        self.denied.clear()
        self.throttled.clear()
        self.calls.clear()
