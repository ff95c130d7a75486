"""Migrations, and a database that no longer answers."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from evenkeel_gateway.database import DATABASE_ERRORS, Database
from evenkeel_gateway.migrations import available, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


async def test_many_instances_migrate_at_once_and_each_migration_is_applied_once(conninfo: str) -> None:
    databases = [Database(conninfo, f"migrate {number}") for number in range(8)]
    results = await asyncio.gather(*(migrate(database) for database in databases))
    assert sorted(name for applied in results for name in applied) == sorted(available().values())
    assert await migrate(databases[0]) == []
    await asyncio.gather(*(database.close() for database in databases))


async def test_the_files_can_be_applied_twice(conninfo: str) -> None:
    database = Database(conninfo, "migrate")
    await migrate(database)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("DELETE FROM gateway_migration")
    assert await migrate(database) == sorted(available().values())
    await database.close()


async def test_the_lease_is_one_row_and_one_rollout_is_open(conninfo: str) -> None:
    database = Database(conninfo, "migrate")
    await migrate(database)
    await database.close()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO leader_lease DEFAULT VALUES")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO leader_lease (only_row) VALUES (false)")
        rollout = "INSERT INTO fleet_rollout (holder, reason, expires_at) VALUES ('ann', 'test', now())"
        connection.execute(rollout)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(rollout)
        connection.execute("UPDATE fleet_rollout SET finished_at = now(), result = 'failed'")
        connection.execute(rollout)


class Wire:
    """A TCP proxy that can fall silent without closing anything."""

    def __init__(self) -> None:
        self.silent = asyncio.Event()
        self.port = 0

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.silent.is_set():
                await asyncio.sleep(60)
            writer.write(data)
        writer.close()


@asynccontextmanager
async def wire(conninfo: str) -> AsyncIterator[tuple[Wire, str]]:
    target = conninfo_to_dict(conninfo)
    link = Wire()
    pumps: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(str(target["host"]), target["port"])
        pumps.extend(
            [
                asyncio.create_task(link.pump(reader, server_writer)),
                asyncio.create_task(link.pump(server_reader, writer)),
            ]
        )

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link, make_conninfo(conninfo, port=link.port)
    finally:
        server.close()
        for pump in pumps:
            pump.cancel()


async def test_a_silent_connection_fails_at_its_deadline_and_the_next_one_is_new(conninfo: str) -> None:
    async with wire(conninfo) as (link, through):
        database = Database(through, "test")
        async with database.transaction(seconds=1, lock_seconds=1) as connection:
            await connection.execute("SELECT 1")
        link.silent.set()
        started = time.monotonic()
        with pytest.raises(DATABASE_ERRORS):
            async with database.transaction(seconds=0.5, lock_seconds=0.5) as connection:
                await connection.execute("SELECT 1")
        assert time.monotonic() - started < 1
        link.silent.clear()
        async with database.transaction(seconds=1, lock_seconds=1) as connection:
            await connection.execute("SELECT 1")
        await database.close()


async def test_a_frozen_client_loses_its_transaction(conninfo: str) -> None:
    database = Database(conninfo, "test")
    with pytest.raises(psycopg.Error, match="idle-in-transaction timeout"):
        async with database.transaction(seconds=0.5, lock_seconds=0.5) as connection:
            time.sleep(1)  # the whole process stands still
            await connection.execute("SELECT 1")
    await database.close()
