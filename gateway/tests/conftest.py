"""A private PostgreSQL for the run, and a database for each test."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from support.client import Client
from support.gateway import GatewayProcess, clean_environment
from support.pgbouncer import PgBouncer
from support.postgres import Cluster
from support.servers import Backend, Metadata, SecretsManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """For tests that break it."""
    with Cluster() as running:
        yield running


@pytest.fixture
def conninfo(cluster: Cluster) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(cluster.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return cluster.conninfo(name)


@pytest.fixture
def pooled(cluster: Cluster, conninfo: str) -> Iterator[str]:
    """The same database through PgBouncer in transaction mode."""
    with PgBouncer(cluster.port) as pooler:
        yield pooler.conninfo(str(conninfo_to_dict(conninfo)["dbname"]))


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as running:
        yield running


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as running:
        yield running


@pytest.fixture
def secrets_manager() -> Iterator[SecretsManager]:
    with SecretsManager() as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Start a gateway as a process of its own, with these environment variables and no others."""
    running: list[GatewayProcess] = []

    def start(module: str = "", **environment: str) -> GatewayProcess:
        name = "evenkeel_gateway" + (f".{module}" if module else "")
        process = GatewayProcess(tmp_path / f"gateway-{len(running)}.log", environment, name)
        running.append(process)
        return process

    yield start
    for process in running:
        process.destroy()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what waits for the idle connection, so that the wait goes on beside the other tests."""
    items.sort(key=lambda item: "idle_connection" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def _idle_from_the_start(request: pytest.FixtureRequest) -> None:
    if any("idle_connection" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("idle_connection")


@pytest.fixture(scope="session")
def idle_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[list[int]]]:
    """Statuses of two requests on one connection that was idle for 65 s in between."""
    log = tmp_path_factory.mktemp("idle") / "gateway.log"
    with Backend() as upstream, ThreadPoolExecutor() as pool:
        process = GatewayProcess(log, {"A_SERVICE_URL": upstream.url})
        try:
            yield pool.submit(_two_requests, process, 65)
        finally:
            process.destroy()


def _two_requests(process: GatewayProcess, idle: float) -> list[int]:
    client = Client(process.ready().port)
    first = client.ask("/api/a").status
    time.sleep(idle)
    second = client.ask("/api/a").status
    client.close()
    return [first, second]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace what the gateway reads of this process's environment."""

    def replace(**values: str) -> None:
        clean_environment(monkeypatch)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    replace()
    return replace
