"""A private PostgreSQL for the run, and a database for each test."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from support.gateway import GatewayProcess, clean_environment
from support.pgbouncer import PgBouncer
from support.postgres import Cluster
from support.servers import Backend, Metadata, SecretsManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace what the gateway reads of this process's environment."""

    def replace(**values: str) -> None:
        clean_environment(monkeypatch)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    replace()
    return replace
