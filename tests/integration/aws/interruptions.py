# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that end early: at a permission that is missing, or after a call that changed something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.wrappers import Request, Response

from testbed.services.aws.calls import Call, denied, error
from tests.integration.endpoint import ACCOUNT

READING = ("Describe", "List", "Get")


def changes(action: str) -> bool:
    """Whether the action, such as ec2:CreateRoute, changes something."""
    return not action.partition(":")[2].startswith(READING)


class Interruptions:
    """A gap of an endpoint. Denies each action at its first call, or serves no call after a number of changes."""

    def __init__(self) -> None:
        self._denied: list[str] | None = None
        self._left: int | None = None

    def answer(self, call: Call, _request: Request) -> Response | None:
        if self._denied is not None and call.permission not in self._denied:
            self._denied.append(call.permission)
            return denied(call, ACCOUNT, "controller")
        if self._left == 0:
            return error(call, "Killed", "the process is gone")
        if self._left is not None and changes(call.permission):
            self._left -= 1
        return None

    @contextmanager
    def each_denied_once(self) -> Iterator[list[str]]:
        """The actions that were denied so far."""
        self._denied = []
        yield self._denied
        self._denied = None

    @contextmanager
    def after(self, changed: int) -> Iterator[None]:
        """No call is served after so many that change something."""
        self._left = changed
        yield
        self._left = None
