"""A private PostgreSQL for the run, a database for each test, and the testbed's SQS and SNS."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.postgres import Cluster
from support.redis import RedisServer
from testbed.services.messages.server import Server

from helpers.events import EventQueue
from helpers.process import Process
from helpers.tokens import TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """For tests that break it."""
    with Cluster() as running:
        yield running


def _new_database(cluster: Cluster) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(cluster.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return cluster.conninfo(name)


@pytest.fixture
def conninfo(cluster: Cluster) -> str:
    return _new_database(cluster)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def queue(server: Server) -> EventQueue:
    return EventQueue(server, "audit")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, server: Server) -> Iterator[Callable[..., Process]]:
    """Start a command as a process of its own, with these environment variables and no others."""
    running: list[Process] = []

    def run(command: str, **environment: str) -> Process:
        defaults = {"AWS_ENDPOINT_URL": server.url}
        process = Process(command, tmp_path / f"{command}-{len(running)}.log", defaults | environment)
        running.append(process)
        return process

    yield run
    for process in running:
        process.destroy()


@pytest.fixture
def worker(start: Callable[..., Process], queue: EventQueue, conninfo: str) -> Callable[..., Process]:
    """Start a worker on the queue, with short time-outs."""

    def run(**environment: str) -> Process:
        defaults = {
            "EPR_DATABASE_URL": conninfo,
            "EPR_AUDIT_SQS_URL": queue.url,
            "EPR_AUDIT_SQS_VISIBILITY_TIMEOUT": "2",
            "EPR_AUDIT_SQS_WAIT_TIME": "1",
        }
        return start("worker", **(defaults | environment))

    return run


@pytest.fixture
def api(start: Callable[..., Process], conninfo: str) -> Callable[..., Process]:
    """Start an API without a cache and topics."""

    def run(**environment: str) -> Process:
        defaults = {"EPR_DATABASE_URL": conninfo, "EPR_API_TOKENS": TOKENS}
        return start("api", **(defaults | environment)).answers("/readyz")

    return run


@pytest.fixture(scope="module")
def module_api(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    environment = {"EPR_DATABASE_URL": _new_database(cluster), "EPR_API_TOKENS": TOKENS}
    process = Process("api", tmp_path_factory.mktemp("api") / "log", environment)
    yield process.answers("/readyz")
    process.destroy()


@pytest.fixture
def process(module_api: Process) -> Process:
    """An API that the tests of a module share, on an empty database."""
    with psycopg.connect(module_api.environment["EPR_DATABASE_URL"]) as connection:
        connection.execute("TRUNCATE entity, permission_grant, answer_version, outbox_event, audit_event")
    return module_api
