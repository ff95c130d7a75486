"""The container's limits: its memory sets the number of connections, its CPU limit the number of threads."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import TYPE_CHECKING

import pytest

from evenkeel_gateway.haproxy import processors, render
from evenkeel_gateway.haproxy.lifecycle import Haproxy
from evenkeel_gateway.settings import Settings
from support.wait import free_port, until_async

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Environment = Callable[..., None]

MIB = 1024 * 1024
CLIENTS = 300


def maxconn(folder: Path) -> int:
    [found] = re.findall(r"\n    maxconn (\d+)\n", render.configuration(render.Inputs(Settings(), folder, folder)))
    return int(found)


@pytest.mark.parametrize(
    ("limit", "cache", "buffer", "expected"),
    [
        (f"{500 * MIB}\n", 32, 16384, 2000),
        (f"{200 * MIB}\n", 1, 16384, 665),
        (f"{300 * MIB}\n", 100, 16384, 682),
        (f"{500 * MIB}\n", 32, 1048576, 102),
        (f"{100 * MIB}\n", 32, 16384, 10),
        ("max\n", 32, 16384, 2000),
        ("9223372036854771712\n", 32, 16384, 2000),
    ],
)
def test_connections_fit_into_the_memory(  # noqa: PLR0917
    environment: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    cache: int,
    buffer: int,
    expected: int,
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(render, "_MEMORY_LIMITS", (tmp_path / "memory.max",))
    environment(
        MAX_CONNECTIONS="2000", CACHE_ENABLED="true", CACHE_SIZE_MB=str(cache), PROXY_STREAM_CHUNK_SIZE=str(buffer)
    )
    if cache == 1:
        monkeypatch.setenv("CACHE_MAX_OBJECT_BYTES", "1024")
    assert expected * 0.95 <= maxconn(tmp_path) <= expected


@pytest.mark.anyio
async def test_what_a_connection_takes_when_its_client_does_not_read(environment: Environment, tmp_path: Path) -> None:
    """The worst that a client can do: answers that fill all buffers."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            for _ in range(16):
                writer.write(b"x" * 65536)
                await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = free_port()
    environment(
        ACCESS_LOG="false",
        SHUTDOWN_GRACE_SECONDS="1",
        PORT=str(port),
        A_SERVICE_URL=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
    )
    haproxy = Haproxy(Settings(), tmp_path)
    await haproxy.configure()
    task = asyncio.create_task(haproxy.run())
    clients = []
    try:
        await until_async(lambda: haproxy.processes == 1, 15, "HAProxy serves")
        before = (await haproxy.figures())["memory_bytes"]
        for _ in range(CLIENTS):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /api/a HTTP/1.1\r\nHost: x\r\n\r\n")
            clients.append(client)

        async def all_in_flight() -> bool:
            return await haproxy.requests() == CLIENTS

        await until_async(all_in_flight, 20, "all are in flight")
        await asyncio.sleep(1)  # for the buffers to fill; nothing says when they have
        taken = ((await haproxy.figures())["memory_bytes"] - before) / CLIENTS
        print(f"{taken:.0f} bytes for each connection")  # noqa: T201
        assert taken < render.connection_bytes(Settings())
    finally:
        for client in clients:
            client.close()
        server.close()
        await haproxy.stop()
        await asyncio.wait_for(task, 10)


def threads(folder: Path) -> int:
    [found] = re.findall(r"\n    nbthread (\d+)\n", render.configuration(render.Inputs(Settings(), folder, folder)))
    return int(found)


@pytest.mark.parametrize(
    ("member", "files", "expected"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "400000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "9900000 100000"}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        # Of a container that sees the node's whole tree: its own group and those above it.
        ("0::/docker/abc", {"docker/abc/cpu.max": "200000 100000"}, 1),
        ("0::/docker/abc", {"docker/cpu.max": "600000 100000", "docker/abc/cpu.max": "max 100000"}, 3),
        ("4:cpu,cpuacct:/docker/abc", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 8),
        (
            "4:cpu,cpuacct:/docker/abc",
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "50000",
            },
            2,
        ),
    ],
)
def test_threads_follow_the_limit_of_the_container(  # noqa: PLR0917
    environment: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    member: str,
    files: dict[str, str],
    expected: int,
) -> None:
    root = tmp_path / "cgroup"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    (tmp_path / "member").write_text(f"12:pids:/x\n{member}\n")
    monkeypatch.setattr(processors, "_ROOT", root)
    monkeypatch.setattr(processors, "_MEMBER", tmp_path / "member")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert threads(tmp_path) == expected


def test_threads_that_are_asked_for(environment: Environment, tmp_path: Path) -> None:
    environment(PROXY_THREADS="5")
    assert threads(tmp_path) == 5
