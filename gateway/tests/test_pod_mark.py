"""The leader marks its pod, through an API server's endpoint that records what it is asked."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from support.kubernetes import ApiServer, certificate
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.gateway import GatewayProcess

    Start = Callable[..., GatewayProcess]

WARNING = "the leader's pod gets no mark"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path) as running:
        yield running


def warnings(process: GatewayProcess) -> list[str]:
    return [line for line in process.own_log.splitlines() if WARNING in line]


def leading(process: GatewayProcess) -> bool:
    return bool(process.about.get("amILeader"))


def test_the_mark_goes_with_the_leadership(gateway: Start, api: ApiServer, conninfo: str) -> None:
    first = gateway(DATABASE_URL=conninfo, **api.environment("blue-1")).ready()
    until(lambda: api.marks() == {"blue-1": "1000"}, 5, "the leader is marked")
    gateway(DATABASE_URL=conninfo, POD_DELETION_COST="7", **api.environment("blue-2")).ready()
    until(lambda: api.marks() == {"blue-1": "1000", "blue-2": None}, 5, "the follower is not")
    (api.account / "token").write_text("second-token")
    first.signal(signal.SIGTERM)
    until(lambda: api.marks()["blue-2"] == "7", 5, "the next leader is marked")
    assert api.patches[0] == (
        "/api/v1/namespaces/gateways/pods/blue-1",
        "Bearer first-token",
        "application/merge-patch+json",
        "1000",
    )
    assert api.patches[-1].token == "Bearer second-token"
    assert first.wait() == 0
    assert "pod marked as the leader's" in first.own_log


def test_a_handover_moves_it(gateway: Start, api: ApiServer, conninfo: str) -> None:
    first = gateway(DATABASE_URL=conninfo, **api.environment("blue-1")).ready()
    until(lambda: leading(first), 5, "it leads")
    gateway(DATABASE_URL=conninfo, FORCE_LEADER="true", **api.environment("blue-2")).ready()
    until(lambda: api.marks() == {"blue-1": None, "blue-2": "1000"}, 10, "the mark has moved")


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_is_one_warning(gateway: Start, api: ApiServer, conninfo: str, status: int) -> None:
    api.status = status
    process = gateway(DATABASE_URL=conninfo, **api.environment("blue-1")).ready()
    until(lambda: warnings(process), 5, "it warns")
    requests = len(api.patches)
    time.sleep(1)
    [line] = warnings(process)
    assert f"{status} pods is forbidden" in line
    assert "set POD_DELETION_COST=0" in line
    assert "first-token" not in process.log
    assert leading(process)
    assert len(api.patches) - requests <= 1, "it does not ask again and again"


def test_an_api_that_hangs_holds_up_nothing(gateway: Start, api: ApiServer, conninfo: str) -> None:
    api.delay = 60
    process = gateway(DATABASE_URL=conninfo, **api.environment("blue-1")).ready()
    until(lambda: api.patches, 5, "it asks")
    until(lambda: leading(process), 5, "it leads")
    until(lambda: warnings(process), 6, "it gives up")
    begun = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert time.monotonic() - begun < 5


def test_another_authority_is_not_believed(gateway: Start, api: ApiServer, conninfo: str, tmp_path: Path) -> None:
    authority, _ = certificate(tmp_path / "other")
    (api.account / "ca.crt").write_bytes(authority.read_bytes())
    process = gateway(DATABASE_URL=conninfo, **api.environment("blue-1")).ready()
    until(lambda: warnings(process), 5, "it warns")
    assert "CERTIFICATE_VERIFY_FAILED" in warnings(process)[0]
    assert api.patches == []


@pytest.mark.parametrize(
    "missing",
    [
        {"KUBERNETES_SERVICE_HOST": ""},
        {"POD_NAME": ""},
        {"POD_DELETION_COST": "0"},
        {"POD_SERVICE_ACCOUNT_DIR": "/none"},
    ],
)
def test_nothing_is_asked_where_it_is_off(
    gateway: Start, api: ApiServer, conninfo: str, missing: dict[str, str]
) -> None:
    process = gateway(**{"DATABASE_URL": conninfo} | api.environment("blue-1") | missing).ready()
    until(lambda: leading(process), 5, "it leads")
    time.sleep(0.5)
    assert api.patches == []
    assert warnings(process) == []
