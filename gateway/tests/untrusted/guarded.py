"""A gateway in front of backends that record what they receive."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.gateway import GatewayProcess
    from support.recorder import Recorder


@dataclass
class Guarded:
    gateway: GatewayProcess
    users: Recorder
    """/api/users"""
    secret: Recorder
    """/api/secret, for those who have a token: no stranger has."""
    other: Recorder
    """/api"""

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def backends(self) -> tuple[Recorder, ...]:
        return (self.users, self.secret, self.other)

    def forget(self) -> None:
        for backend in self.backends:
            backend.forget()

    def settle(self) -> None:
        """Wait until nothing comes any more."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < 0.3:
            now = sum(len(backend.requests) for backend in self.backends)
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.02)

    def assert_unharmed(self, pids: list[int]) -> None:
        """Every backend could read all that it got, in one way only; nothing of the gateway has died."""
        for backend in self.backends:
            assert not backend.violations
        assert not self.secret.targets
        assert not self.gateway.exited()
        assert self.gateway.children == pids
