"""One gateway for all tests of untrusted input."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from support.gateway import GatewayProcess
from support.recorder import Recorder
from untrusted.guarded import Guarded

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Recorder() as users, Recorder() as secret, Recorder() as other:
        routes = [
            {"prefix": "/api/users", "upstream": users.url},
            {"prefix": "/api/secret", "upstream": secret.url, "auth": "required"},
            {"prefix": "/api", "upstream": other.url},
        ]
        gateway = GatewayProcess(
            tmp_path_factory.mktemp("untrusted") / "gateway.log",
            {"ROUTES": json.dumps(routes), "PROXY_TIMEOUT_READ_SECONDS": "2", "JWT_SECRET": secrets.token_hex(32)},
        )
        try:
            yield Guarded(gateway.ready(), users, secret, other)
        finally:
            gateway.destroy()


@pytest.fixture
def guarded(shared: Guarded) -> Iterator[Guarded]:
    shared.forget()
    pids = shared.gateway.children
    yield shared
    shared.assert_unharmed(pids)
