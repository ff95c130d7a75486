# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to AWS, each asked once: for a look at many objects that have much in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .api import Api

READING = ("Describe", "List", "Get", "BatchGet", "Simulate")
NOT_KEPT = "GetSecretValue"


class AskedOnce(Api):
    """An API whose answers are kept. Several threads may use it. It refuses operations that change something."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._answers: dict[tuple[str, str], dict[str, Any]] = {}

    def call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        if not operation.startswith(READING):
            raise ValueError(f"{operation} changes something")
        if operation == NOT_KEPT:
            return super().call(operation, what, **arguments)
        key = (operation, repr(sorted(arguments.items())))
        if key not in self._answers:
            self._answers[key] = super().call(operation, what, **arguments)
        return self._answers[key]


class SharedClients:
    """One client of each service of AWS and region, made when it is first asked for; also by several threads."""

    def __init__(self, make: Callable[[str, str], Any]) -> None:
        self._make = make
        self._made: dict[tuple[str, str], AskedOnce] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str, region: str = "") -> Api:
        with self._lock:
            if (service, region) not in self._made:
                self._made[service, region] = AskedOnce(self._make(service, region))
            return self._made[service, region]
