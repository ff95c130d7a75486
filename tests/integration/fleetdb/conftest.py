# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private PostgreSQL for the run, and a database with the gateways' tables for each test."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.integration.support import CHECKOUT

# The gateway's own tests have servers and instances to run it with.
sys.path.insert(0, str(CHECKOUT / "gateway" / "tests"))

from support.instances import Process, assert_never_two
from support.pgbouncer import PgBouncer
from support.postgres import Cluster

from tests.integration.fleetdb.fleets import Fleet, migrated

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """For tests that break it."""
    with Cluster() as running:
        migrated(running.conninfo())
        yield running


@pytest.fixture
def empty(cluster: Cluster) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return str(cluster.conninfo(name))


@pytest.fixture
def fleet(empty: str) -> Fleet:
    """The tables of a gateway, and no gateway: a test says who is there."""
    migrated(empty)
    return Fleet(empty)


@pytest.fixture
def pooled(cluster: Cluster, fleet: Fleet) -> Iterator[str]:
    """The same database through PgBouncer in transaction mode."""
    with PgBouncer(cluster.port) as pooler:
        yield pooler.conninfo(fleet.name)


@pytest.fixture
def gateways(fleet: Fleet, tmp_path: Path) -> Iterator[Callable[[int], list[Process]]]:
    """Start so many real elections, each a process; never two of them lead."""
    with ExitStack() as stack:
        running: list[Process] = []

        def start(count: int) -> list[Process]:
            for number in range(1, count + 1):
                running.append(stack.enter_context(Process(fleet.conninfo, number, tmp_path)).started())
            return running

        yield start
        assert_never_two(*(process.record for process in running))
